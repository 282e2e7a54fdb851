import threading
from collections.abc import Iterator

import pytest

from tests.system.programs import until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "system":
            item.add_marker(pytest.mark.system)


@pytest.fixture(autouse=True, scope="module")
def no_thread_is_left_behind() -> Iterator[None]:
    """A thread that goes on after its test takes the processor from all later tests."""
    before = set(threading.enumerate())
    yield
    until("the threads of the tests to end", lambda: set(threading.enumerate()) <= before, 20)
