"""Lets promtool make Prometheus' blocks, one day of samples at a time.

promtool reads its whole input again for each block of two hours, so a file of months would take a very long time.
"""

import subprocess
from pathlib import Path

from exporter.backfill.openmetrics import END

_DAY = 86_400


class BlocksError(Exception):
    """promtool has failed. The message is its last line."""


class DayBlocks:
    """Samples of one day in a file; when the day is over, promtool makes blocks of it in `folder`."""

    def __init__(self, promtool: str, folder: Path) -> None:
        self._promtool, self._folder = promtool, folder
        self._samples = folder / "samples.om"
        self._file = self._samples.open("w", encoding="utf-8")
        self._head = ""
        self._day: int | None = None

    def write(self, text: str, at: int) -> None:
        """Add lines; `at` is the time of their samples in seconds since the epoch, 0 for the lines before them."""
        if not at:
            self._head += text
        elif self._day is None or at // _DAY > self._day:
            if self._day is not None:
                self._make()
            self._day = at // _DAY
            self._file.write(self._head)
        self._file.write(text if at else "")

    def finish(self) -> list[Path]:
        """The blocks of all days. Raises BlocksError."""
        if self._day is not None:
            self._make()
        self._file.close()
        return sorted(path for path in (self._folder / "blocks").glob("*") if path.is_dir())

    def _make(self) -> None:
        self._file.write(END)
        self._file.close()
        command = ["tsdb", "create-blocks-from", "openmetrics", str(self._samples), str(self._folder / "blocks")]
        ended = subprocess.run([self._promtool, *command], capture_output=True, text=True, check=False)
        if ended.returncode:
            lines = (ended.stderr or ended.stdout).strip().splitlines()
            raise BlocksError(lines[-1] if lines else f"exit code {ended.returncode}")
        self._file = self._samples.open("w", encoding="utf-8")
