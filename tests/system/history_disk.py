"""Moves days into the archive on a disk that is full, then read-only, then good. The folder is a small tmpfs of its own.

Run as `python -m tests.system.history_disk FOLDER` by test_history. It prints what is wrong.
"""

import logging
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from exporter.persistence import archive
from tests.exporter.ledger.test_history import Rig
from tests.exporter.persistence.test_archive import grow, restart
from tests.system.test_durability import fill


def main(folder: Path) -> None:
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    rig = Rig(folder)
    rig.checkpoint.save(rig.ledger.changes())
    fill(folder / "full")
    expected = grow(rig)
    for use in ("full", "full"):
        with suppress(OSError):
            rig.checkpoint.save(rig.ledger.changes())
        rig.archive.store(rig.ledger)
        assert rig.lines() == expected, use
    assert restart(rig) == expected, "after a restart on the full disk"
    (folder / "full").unlink()
    rig.archive = archive.Archive(folder, lambda: rig.now)  # a failure is logged once
    rig.checkpoint.save(rig.ledger.changes())
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
    rig.archive.store(rig.ledger)
    assert rig.lines() == expected, "read-only"
    assert archive.read(folder)[0] == {}
    subprocess.run(["umount", str(folder)], check=True)
    rig.commit()
    rig.commit()
    assert rig.lines() == restart(rig) == expected, "at the end"
    assert len(archive.read(folder)[0]) > 10


if __name__ == "__main__":
    main(Path(sys.argv[1]))
