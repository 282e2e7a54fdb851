"""What is shipped imports no GPL code: Pygtail is an oracle of the tests."""

import subprocess
import sys

import pytest

_IMPORT_ALL = """
import importlib, pkgutil, sys
import exporter, parsers
for package in (exporter, parsers):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(len(sys.modules), *sorted(name for name in sys.modules if name.partition(".")[0] == "pygtail"))
"""


@pytest.mark.system
def test_nothing_shipped_imports_pygtail() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORT_ALL], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    count, *found = done.stdout.split()
    assert int(count) > 200
    assert found == []
