"""The operating system's side of the process: its signals, its own log, its limit on open files."""
