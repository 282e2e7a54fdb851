"""Files, series, checkpoint, HTTP and command line: everything with a side effect."""

from importlib.metadata import version

__version__ = version("dify-exporter")
