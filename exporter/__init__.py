"""Files, series, checkpoint, HTTP and command line: everything with a side effect."""
