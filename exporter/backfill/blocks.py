"""Lets promtool make Prometheus' blocks, one day of samples at a time.

promtool reads its whole input again for each block of two hours, so a file of months would take a very long time.

Each block is marked as one of samples that were out of order. After a restart, Prometheus (tsdb/db.go, `open`) takes
from its write-ahead log only what is newer than its newest other block. So without the mark, a block that reaches up to
now would delete what other jobs have scraped in the last two or three hours.
"""

import json
import subprocess
from pathlib import Path

from exporter.backfill.openmetrics import END

_DAY = 86_400

#: `CompactionHintFromOutOfOrder` of Prometheus' tsdb/block.go.
_OUT_OF_ORDER = "from-out-of-order"


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
        blocks = sorted(path for path in (self._folder / "blocks").glob("*") if path.is_dir())
        for block in blocks:
            meta = json.loads((block / "meta.json").read_text())
            meta["compaction"]["hints"] = [_OUT_OF_ORDER]
            (block / "meta.json").write_text(json.dumps(meta))
        return blocks

    def _make(self) -> None:
        self._file.write(END)
        self._file.close()
        command = ["tsdb", "create-blocks-from", "openmetrics", str(self._samples), str(self._folder / "blocks")]
        ended = subprocess.run([self._promtool, *command], capture_output=True, text=True, check=False)
        if ended.returncode:
            lines = (ended.stderr or ended.stdout).strip().splitlines()
            raise BlocksError(lines[-1] if lines else f"exit code {ended.returncode}")
        self._file = self._samples.open("w", encoding="utf-8")
