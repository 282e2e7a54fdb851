"""Pure parsers: bytes in, observations out. They know no file, metric, socket, clock or thread."""
