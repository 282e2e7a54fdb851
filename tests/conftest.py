"""What holds for every test, and for the fast half: the tests without the marker `system`."""

import gc
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# Bytecode is kept, whatever the environment says: without it each worker would rewrite the assertions of all tests again,
# and each program that a test starts would compile the exporter again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell starts background jobs with these signals ignored, and each program that a test starts would inherit that.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# No timed assertions: a machine that does other things is slow, not wrong.
settings.register_profile("untimed", deadline=None)
# The fast half tries a sixth of the examples. The whole suite, which `make test` and CI run, tries all of them.
settings.register_profile("fast", deadline=None, max_examples=settings.get_profile("untimed").max_examples // 6)
settings.load_profile("untimed")

_SYSTEM = Path(__file__).with_name("system")
#: These need programs that Debian does not have. A make target gets them, and sets the variable.
_NEEDS = {
    _SYSTEM / "test_prometheus3.py": "PROMETHEUS3",
    _SYSTEM / "test_collector.py": "COLLECTOR",
    _SYSTEM / "test_kubernetes.py": "KUBERNETES",
    _SYSTEM / "test_hdfs.py": "HDFS",
}


def _is_fast_half(config: pytest.Config) -> bool:
    return bool(config.option.markexpr == "not system")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """With `-n auto`, the whole suite has three workers for two cores: its system tests often wait for a program."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if _is_fast_half(config) else cores + cores // 2


def pytest_configure(config: pytest.Config) -> None:
    if _is_fast_half(config):
        settings.load_profile("fast")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import the system tests for the fast half: this takes seconds in each worker."""
    if collection_path in _NEEDS and _NEEDS[collection_path] not in os.environ:
        return True
    return True if _is_fast_half(config) and collection_path == _SYSTEM else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the slow tests. `--dist worksteal` gives every worker a part of the list,
    and shares what is left at the end: fast tests, so that no worker waits for a slow one.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    slow = [item for item in items if item.get_closest_marker("system")]
    fast = [item for item in items if not item.get_closest_marker("system")]
    items[:] = [
        item
        for number in range(workers)
        for part in (slow, fast)
        for item in part[number * len(part) // workers : (number + 1) * len(part) // workers]
    ]


def pytest_collection_finish() -> None:
    """Keep the thousands of tests out of the garbage collector: it would look at all of them again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, a system test that this machine cannot run fails: nothing is left out in silence."""
    report = yield
    is_needed = item.get_closest_marker("system") and not item.get_closest_marker("privileged")
    if report.skipped and "CI" in os.environ and is_needed:
        report.outcome, report.longrepr = "failed", f"skipped in CI: {report.longrepr}"
    return report
