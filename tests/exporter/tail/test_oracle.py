"""Unchanged Pygtail as the oracle where it is right: whole lines, one rename at a time, everything read before."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pygtail import Pygtail

from tests.exporter.reader import Reader, append

_LINES = st.lists(st.text("abc {}é", max_size=20).map(lambda text: text + "\n"), max_size=6).map("".join)


@given(steps=st.lists(st.tuples(_LINES, st.booleans(), _LINES), max_size=6))
@settings(max_examples=settings.default.max_examples * 3 // 5)
def test_the_same_lines_as_pygtail(steps: list[tuple[str, bool, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log, offset = Path(folder) / "log", Path(folder) / "offset"
        append(log, "first\n")
        reader = Reader(log)
        for before, rotated, behind in [("", False, ""), *steps]:
            append(log, before)
            if rotated:
                log.replace(log.with_name("log.1"))
                append(log, behind)
            oracle = Pygtail(str(log), offset_file=str(offset), full_lines=True, encoding="utf-8")
            expected = [line.encode().decode("latin-1").rstrip("\n") for line in oracle]
            del oracle  # closes the file
            assert reader.poll() == expected
        reader.stop()
