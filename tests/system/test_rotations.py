"""logrotate's modes, with a writer that opens its log anew and one that never does; up, or down meanwhile."""

from pathlib import Path

import pytest

from tests.system.rotations import run

#: Bytes that logrotate itself destroys before anybody can read them: between copy and truncation.
_DESTROYED = {"copytruncate"}

#: While nobody has a descriptor: what was written to a file that was unlinked, or moved where nobody said.
_OUT_OF_SIGHT = {"copytruncate", "renamecopy", "compress", "delaycompress"}


@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
def test_b13_to_b29_what_a_real_logrotate_does(down: bool, tmp_path: Path) -> None:
    for row in run(tmp_path, down, rotations=2, lines=20, peers=False):
        assert row.counted <= row.written, f"counted twice: {row}"
        assert row.counted >= row.kept, f"missing, and on disk: {row}"
        if not set(row.mode.split(", ")) & (_OUT_OF_SIGHT if down else _DESTROYED):
            assert row.counted == row.written, f"missing: {row}"
