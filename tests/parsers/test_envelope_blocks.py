"""The lines of an envelope read as a block give the same batch as one by one."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parsers.batch import Batch
from parsers.dify import Dify
from parsers.envelope import ENVELOPES, Compose, Cri, Docker
from parsers.plugin_daemon import PluginDaemon

CONTENT = b"2026-11-23 08:53:08.820 INFO [Dummy-1] [ext_request_logging.py:73] %032x - POST /v1/chat-messages 200 1.5"


class OneByOneDocker(Docker, frozen=True):
    def contents(self, block: bytes) -> tuple[bytes, int] | None:
        return None


class OneByOneCri(Cri, frozen=True):
    def contents(self, block: bytes) -> tuple[bytes, int] | None:
        return None


class OneByOneCompose(Compose, frozen=True):
    def contents(self, block: bytes) -> tuple[bytes, int] | None:
        return None


ONE_BY_ONE = {"docker": OneByOneDocker, "cri": OneByOneCri, "compose": OneByOneCompose}


def docker(text: str) -> bytes:
    return json.dumps({"log": text, "stream": "stdout", "time": "2026-11-23T08:53:08.8Z"}).encode()


def usual(envelope: str, number: int) -> bytes:
    content = CONTENT % number
    return {
        "docker": docker(content.decode() + "\n"),
        "cri": b"2026-11-23T08:53:08.8989382Z stdout F " + content,
        "compose": b"api-1  | " + content,
    }[envelope]


AWKWARD = {
    "docker": [
        docker(""),
        docker("\n"),
        docker("no newline"),
        docker("two\nlines\n"),
        docker("x" * 16_384),
        docker("\0\n"),
        docker("\r\n"),
        docker("é\U0001f600\n"),
        b'{"log":"x\\ud800\\n"}',
        b'{"log":"x\xff\\n"}',
        b'{"log":7}',
        b'{"stream":"stdout"}',
        b'{"log":"a\\n","log":"b\\n"}',
        b'{"log":"a\\n"},{"log":"b\\n"}',
        b'{"log":"a\\n"}{"log":"b\\n"}',
        b'{"log":"a\\n"} {"log":"b\\n"}',
        b'{"log":"a\\n"',
        b'"stream":{}}',
        b'{"log":"a\\n","x":{}',
        b'{"log":"a\\n","x":"}',
        b'{"}',
        b" ",
        b'{"log":"a\\n"} ',
        b'{"log":"a\\n"}\r',
        b"[" * 2_000,
    ],
    "cri": [
        b"2026-11-23T08:53:08Z stdout F",
        b"2026-11-23T08:53:08Z stdout F ",
        b"2026-11-23T08:53:08+08:00 stderr F:a:b text",
        b"2026-11-23T08:53:08Z stdout F\r",
        b"2026-11-23T08:53:08Z stdout F:tag",
        b"2026-11-23T08:53:08Z stdout Fx text",
        b"2026-11-23T08:53:08Z stdout P piece",
        b"2026-11-23T08:53:08Z stderr F end",
        b"x 2026-11-23T08:53:08Z stdout F text",
        b"2026-11-23T08:53:08Z stdout F 2026-11-23T08:53:08Z stdout F text",
        b"\xff\xfe",
        b"\0",
    ],
    "compose": [
        b"nginx-1  | 2026/11/23 [error] x",
        b"dify_api.1.abc@host    | x",
        b"api-1 | 2026-11-23T08:53:08.8Z x",
        b"api-1 | 0123456789T",
        b"api-1 | 2026-11-23T08:53:08.8Z INFO x",
        b"api-1 | 2026-11-23T08:53:08.8Z INFO [x",
        b"api-1 | 2026-11-23T08:53:08.8Z INFO  x",
        b"api-1 | 2026-11-23T08:53:08.8Z 2026-11-23T08:53:08.8Z INFO x",
        b"api-1 | 2026-11-23T08:53:08.8Z",
        b"api-1 | \x1b[0mx",
        b"api-1 |x",
        b"api-1 | ",
        b"api-1 exited with code 1",
        b"[pod/api-5/api] x",
        b"x" * 300 + b" | y",
        b"-x | y",
        b" | y",
        b"\0api-1 | x",
    ],
}


def parsed(envelope: str, log: bytes, line_length: int | None, final: bool) -> tuple[Batch, Batch]:
    parsers = ENVELOPES[envelope](parser=Dify()), ONE_BY_ONE[envelope](parser=Dify())
    if line_length is None:
        return parsers[0].parse(log, final), parsers[1].parse(log, final)
    return (
        parsers[0].parse_part(log, final, (), line_length),
        parsers[1].parse_part(log, final, (), line_length),
    )


@pytest.mark.parametrize("envelope", ONE_BY_ONE)
@given(data=st.data(), numbers=st.lists(st.integers(-2, 40), max_size=30), final=st.booleans())
@example(data=None, numbers=[0] * 20, final=False)
def test_a_block_gives_the_batch_of_its_lines(
    envelope: str, data: st.DataObject | None, numbers: list[int], final: bool
) -> None:
    lines = [
        data.draw(st.sampled_from(AWKWARD[envelope]))
        if number < 0 and data is not None
        else usual(envelope, number % 4)
        for number in numbers
    ]
    end = data.draw(st.sampled_from([b"\n", b"", b"\n\n"])) if data is not None else b"\n"
    length = data.draw(st.sampled_from([None, 64, 200, 400, 1 << 20])) if data is not None else None
    block, lines_alone = parsed(envelope, b"\n".join(lines) + end, length, final)
    assert block == lines_alone


@pytest.mark.parametrize("envelope", ONE_BY_ONE)
def test_every_awkward_line_alone_and_among_usual_ones(envelope: str) -> None:
    for line in AWKWARD[envelope]:
        for lines in ([line], [usual(envelope, 1), line, usual(envelope, 2)], [line, line]):
            block, alone = parsed(envelope, b"\n".join([*lines, b""]), 1 << 20, True)
            assert block == alone, line


@pytest.mark.parametrize("envelope", ONE_BY_ONE)
def test_usual_lines_are_not_read_one_by_one(envelope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(ENVELOPES[envelope](parser=Dify()))

    def refuse(self: object, line: bytes) -> None:
        raise AssertionError("a usual line is read alone")

    monkeypatch.setattr(kind, "piece", refuse)
    log = b"".join(usual(envelope, number) + b"\n" for number in range(50))
    batch = ENVELOPES[envelope](parser=Dify()).parse_part(log, False, (), 1 << 20)
    assert (batch.lines, batch.observed, batch.consumed) == (50, 50, len(log))


@pytest.mark.parametrize("severity", ["DEBUG", "INFO", "WARN", "ERROR", "PANIC", "FATAL"])
def test_lines_that_begin_with_a_time_of_their_own_are_not_read_one_by_one(
    severity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin daemon's time looks like one that `--timestamps` adds."""

    def refuse(self: object, line: bytes) -> None:
        raise AssertionError("a usual line is read alone")

    monkeypatch.setattr(Compose, "piece", refuse)
    line = f"plugin_daemon-1  | 2026-11-23T08:54:58.2Z {severity} dify-plugin-daemon middleware.go:83 HTTP request"
    log = f"{line} path=/plugin/x/dispatch/llm/invoke status=200 latency_ms=7\n".encode() * 20
    batch = Compose(parser=PluginDaemon()).parse_part(log, False, (), 1 << 20)
    assert (batch.lines, batch.observed, len(batch.records)) == (20, 20, 1)
