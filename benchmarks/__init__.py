"""Side-by-side runs of dify-exporter and other ways to read the same logs: `make bench`."""
