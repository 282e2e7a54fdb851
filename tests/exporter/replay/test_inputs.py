"""How inputs are opened."""

import os
from fcntl import F_GETPIPE_SZ, fcntl

from exporter.replay.inputs import open_file


def test_a_pipe_holds_a_large_window() -> None:
    """With windows of 64 KiB, the size of a new pipe, a line costs three times as much."""
    reading, writing = os.pipe()
    os.close(writing)
    try:
        with open_file(f"/dev/fd/{reading}"):
            assert fcntl(reading, F_GETPIPE_SZ) == 1 << 20
    finally:
        os.close(reading)
