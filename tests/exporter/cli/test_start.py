"""The first milliseconds of the program."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
IMPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
before = {*sys.modules}
import exporter.__main__
print(*sorted(sys.modules.keys() - before))
"""


def test_nothing_is_imported_before_the_signals_are_blocked() -> None:
    """An interrupt during an import would print a traceback."""
    command = [sys.executable, "-I", "-c", IMPORTS, str(ROOT)]
    imported = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {*imported} <= {"exporter", "exporter.__main__", "_signal", "gc"}
