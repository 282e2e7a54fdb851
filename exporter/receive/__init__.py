"""The receiver: a process of its own, to which Dify sends its traces, and which writes one line per fact."""
