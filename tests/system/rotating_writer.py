"""Writes numbered lines through the handler that Dify uses (api/extensions/ext_logging.py)."""

import logging
import sys
from logging.handlers import RotatingFileHandler


def main(path: str, name: str, lines: int, size: int) -> None:
    logging.raiseExceptions = False  # with several processes the handler fails now and then, in Dify too
    handler = RotatingFileHandler(path, maxBytes=size, backupCount=100)
    logger = logging.getLogger("dify")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    for number in range(lines):
        logger.info("%s.%d %s", name, number, "x" * 60)
        if number % 20 == 0:
            handler.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
