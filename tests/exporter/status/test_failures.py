"""The newest failures: with position and trace id, bounded, and without any text of a user or provider."""

from pathlib import Path

import pytest

from exporter.status.failures import FailureBuffer
from exporter.tail.position import Position, Window
from parsers.batch import Batch
from parsers.dify import Dify
from parsers.envelope import Docker
from parsers.nginx import Nginx

ROOT = Path(__file__).parents[3]
GOOD = b'1.2.3.4 - - [23/Nov/2026:10:00:00 +0000] "GET /v1/info HTTP/1.1" 200 5 "-" "-"\n'
BAD = b'1.2.3.4 - - [23/Nov/2026:10:00:01 +0000] "POST /v1/chat-messages?user=CANARY HTTP/1.1" 502 5 "-" "-"\n'


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def window(data: bytes, offset: int = 0) -> Window:
    return Window(source="s", file="f", position=Position("/var/log/a%20b.log", 1, 1, 1, offset), data=data)


def test_a_failure_has_file_and_offset() -> None:
    buffer, parser, data = FailureBuffer(Clock()), Nginx(format="combined"), GOOD * 3 + BAD + GOOD
    buffer.record(window(data, 1000), parser.parse(data), parser)
    (failure,) = buffer.failures()
    assert (failure.kind, failure.route, failure.status_code) == ("server_error", "/v1/chat-messages", "502")
    assert (failure.file, failure.offset) == ("/var/log/a b.log", 1000 + 3 * len(GOOD))
    assert failure.at == 1_795_428_001.0
    assert "CANARY" not in repr(failure)


@pytest.mark.parametrize("sample", ["dify-api-text.log", "dify-api-json.log", "dify-proxy.log", "docker-api.log"])
def test_the_trace_id_is_in_the_line(sample: str) -> None:
    data = (ROOT / "samples" / sample).read_bytes()
    parser = Docker(parser=Dify()) if sample.startswith("docker") else Dify()
    buffer = FailureBuffer(Clock())
    buffer.record(window(data), parser.parse(data, True), parser)
    failures = buffer.failures()
    assert len(failures) == 5
    for failure in failures:
        line = data[failure.offset :].split(b"\n")[0]
        assert failure.trace_id or b"WORKER TIMEOUT" in line or b"SIGKILL" in line
        assert failure.trace_id.encode() in line


def test_the_buffer_is_bounded_and_searches_once_per_second() -> None:
    clock = Clock()
    buffer, parser = FailureBuffer(clock), Nginx(format="combined")
    for number in range(100):
        buffer.record(window(BAD * 50, number * 50 * len(BAD)), parser.parse(BAD * 50), parser)
        clock.now += 0.25
    failures = buffer.failures()
    assert len(failures) == 20
    assert {failure.offset // (50 * len(BAD)) % 4 for failure in failures} == {0}


@pytest.mark.parametrize(("duration", "pause"), [(0.0, 1), (0.125, 7), (0.25, 13), (3600.0, 30)])
def test_a_slow_search_is_repeated_less_often(duration: float, pause: int) -> None:
    clock = Clock()

    class Slow(Nginx, frozen=True):
        def parse(self, window: bytes, final: bool = False) -> Batch:
            clock.now += duration
            return super().parse(window, final)

    buffer, parser = FailureBuffer(clock), Slow(format="combined")
    batch = Nginx(format="combined").parse(BAD)
    found = []
    for number in range(pause + 1):
        buffer.record(window(BAD, number * len(BAD)), batch, parser)
        found.append(len(buffer.failures()))
        clock.now += 1
    assert found == [1] * pause + [2]


def test_a_clock_that_is_set_back_hides_no_failure() -> None:
    clock = Clock()
    buffer, parser = FailureBuffer(clock), Nginx(format="combined")
    for number in range(2):
        buffer.record(window(BAD, number * len(BAD)), parser.parse(BAD), parser)
        clock.now -= 3600
    assert len(buffer.failures()) == 2


def test_unparsed_lines_are_redacted() -> None:
    buffer, parser = FailureBuffer(Clock()), Nginx(format="combined")
    buffer.record(window(b"secret CANARY 12345\n"), parser.parse(b"secret CANARY 12345\n"), parser)
    (line,) = buffer.unparsed()
    assert (line.source, line.reason, line.shape) == ("s", "format", "xxxxxx xxxxxx 00000")


def test_a_sample_has_each_type_of_record() -> None:
    buffer, parser = FailureBuffer(Clock()), Nginx(format="combined")
    buffer.record(window(GOOD * 2), parser.parse(GOOD * 2), parser)
    assert [kind.__name__ for kind in buffer.samples("s")] == ["Request"]
    assert buffer.samples("other") == {}
