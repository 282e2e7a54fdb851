"""Pure parsers: they turn the bytes of a log into records. They use no file, metric, socket, clock or thread."""
