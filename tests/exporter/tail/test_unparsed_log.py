"""What the exporter logs about unparsed lines."""

import logging

import pytest

from exporter.tail.unparsed_log import UnparsedLogger
from parsers.batch import Batch, DroppedValue


def unparsed(count: int, reason: str = "format", line: bytes = b"CANARY x") -> Batch:
    return Batch(lines=count, unparsed={reason: count}, examples={reason: line})


def test_one_line_a_reason_and_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    unparsed_lines = UnparsedLogger("api", lambda: now)
    with caplog.at_level(logging.WARNING):
        unparsed_lines.record(Batch(lines=3))
        assert caplog.messages == []
        unparsed_lines.record(unparsed(1))
        assert caplog.messages == ["source api: unparsed lines: 1 (format), such as: xxxxxx x"]
        for _ in range(1000):
            unparsed_lines.record(unparsed(2, line=b"GET 1"))
            unparsed_lines.record(unparsed(1, "json", b"{"))
        assert len(caplog.messages) == 1
        now += 60
        unparsed_lines.record(Batch(lines=1))
        assert caplog.messages[1:] == [
            "source api: unparsed lines: 2000 (format), such as: GET 0",
            "source api: unparsed lines: 1000 (json), such as: {",
        ]
        now += 3600
        unparsed_lines.record(Batch(lines=1))
        assert len(caplog.messages) == 3


def test_values_that_were_not_understood_are_said_by_field_without_their_digits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 100.0
    logger = UnparsedLogger("api", lambda: now)
    with caplog.at_level(logging.WARNING):
        logger.record(Batch(lines=1, records=(DroppedValue("time", 1, "12:00 xxx"), DroppedValue("price", 2, "-1"))))
        logger.record(Batch(lines=1, records=(DroppedValue("time", 3, "13:00"),)))
        assert caplog.messages == [
            "source api: time not understood: 1, such as: 00:00 xxx",
            "source api: price not understood: 2, such as: -0",
        ]
        now += 60
        logger.record(Batch(lines=1))
        assert caplog.messages[2:] == ["source api: time not understood: 3, such as: 00:00"]
