"""What requests hold of their bodies together."""

from contextlib import ExitStack

import pytest

from exporter.wsgi.body import SharedMemory
from exporter.wsgi.responses import RefusedError

OWN = 256 << 10


def test_all_requests_share_what_is_beyond_their_own() -> None:
    memory = SharedMemory(100)
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(memory.share()) for _ in range(3))
        for size in (1, OWN, OWN + 60, OWN + 50, OWN + 60):
            first(size)
        third(OWN)
        second(OWN + 40)
        with pytest.raises(RefusedError, match="too many large bodies at once") as refused:
            third(OWN + 1)
        assert (refused.value.status_code, refused.value.close) == (503, True)
        first(OWN)
    with memory.share() as hold:
        hold(OWN + 100)
        with pytest.raises(RefusedError):
            hold(OWN + 101)


def test_a_request_that_is_refused_gives_its_memory_back() -> None:
    memory = SharedMemory(100)
    for _ in range(2):
        with memory.share() as hold:
            hold(OWN + 100)
            with pytest.raises(RefusedError):
                hold(OWN + 101)
