"""A batch is validated on each source's own thread."""

import subprocess
import sys

#: In a process of its own, where nothing has been validated yet.
_FIRST_JUDGEMENT = """
import sys
from exporter.tail.validation import validate_batch
from exporter.tail.position import Position, Window
from parsers.batch import Batch

called = []
sys.setprofile(lambda frame, event, _: called.append(frame.f_globals["__name__"]) if event == "call" else None)
validate_batch(Window("source", "file", Position("path", 1, 1, 1)), Batch(consumed=0))
sys.setprofile(None)
print(*sorted(set(called)))
"""


def test_nothing_is_left_to_build_for_the_threads() -> None:
    """msgspec builds what it knows of a struct at its first use: two threads at once, and the process crashes."""
    done = subprocess.run([sys.executable, "-c", _FIRST_JUDGEMENT], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("exporter.tail.validation parsers.batch\n", "")
