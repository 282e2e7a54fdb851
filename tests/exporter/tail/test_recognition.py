"""Sources with nearly all lines ignored."""

import logging

import pytest

from exporter.tail.recognition import Recognition, recognised
from parsers.batch import Batch


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def period(recognition: Recognition, clock: Clock, lines: int, ignored: int, seconds: float = 10.0) -> bool:
    recognition.add(Batch(lines=lines, ignored=ignored))
    clock.now += seconds
    recognition.check()
    return recognition.is_recognised


def test_it_is_said_once_until_the_log_is_recognised_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    recognition = Recognition("api", True, clock)
    assert period(recognition, clock, 1000, 0)
    for _ in range(5):
        assert not period(recognition, clock, 1000, 1000)
    assert caplog.messages == [
        "source api: 1000 of 1000 lines were ignored, because they begin no record that its parser knows; "
        "`dify-exporter check` says which parser and envelope fit the log"
    ]
    assert period(recognition, clock, 1000, 900)
    assert not period(recognition, clock, 1000, 996)
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(("lines", "ignored"), [(49, 49), (210, 200), (1000, 995), (2049 + 161, 2049)])
def test_few_lines_and_long_tracebacks_are_no_fault(lines: int, ignored: int, clock: Clock) -> None:
    assert recognised(lines, ignored)
    assert period(Recognition("api", True, clock), clock, lines, ignored)


def test_a_verdict_needs_fifty_lines_and_some_seconds(clock: Clock) -> None:
    recognition = Recognition("api", True, clock)
    assert not period(recognition, clock, 50, 50, seconds=0)
    assert not period(recognition, clock, 1000, 0, seconds=9)
    assert period(recognition, clock, 0, 0, seconds=1)
    quiet = Recognition("quiet", True, clock)
    assert period(quiet, clock, 30, 30, seconds=3600)
    assert not period(quiet, clock, 30, 30)


def test_what_a_parser_ignores_on_purpose_is_no_fault(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert period(Recognition("nginx-error", False, clock), clock, 1000, 1000)
    assert caplog.messages == []
