"""Files, series, checkpoint, HTTP and command line: everything with a side effect."""

__version__ = "0.1.0"
