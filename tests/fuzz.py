"""Coverage-guided fuzzing (atheris): the six laws for every registered parser, what the proxy reads of a response, and
what the receiver reads of a request.

    python -m tests.fuzz --minutes 5          # the corpus grows in .fuzz/corpus, findings land in .fuzz
    python -m tests.fuzz .fuzz/crash-…        # runs one finding again

An input is one byte for the target, two for the places where the log is cut, and the log. Linear and bounded are
checked with every 500th input, for they cost as much as hundreds of others.
"""

import argparse
import gzip
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["parsers", "exporter.proxy"]):
    from exporter.proxy.response_reader import ResponseReader, ResponseSummary
    from parsers.dify import Dify
    from parsers.parser import Parser
    from parsers.tracing import Reading, TooManyItems, UnreadableBody, known_by, read_langfuse, read_otlp
    from tests.parsers.laws import check_bounded, check_laws, check_linear
    from tests.parsers.test_laws import PARSERS
    from tests.real_dify.trace_requests import requests

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".fuzz"
_HEAD = 3
_CHUNK = 3000
_RARE = 500
#: Seconds of processor time for the laws of one input, which is at most _LONGEST bytes long.
_LIMIT_SECONDS = 5.0
_LONGEST = 20_000

_JSON, _EVENTS = "application/json", "text/event-stream"
Target = Callable[[bytes, list[int], bool], None]


def laws(parser: Parser) -> Target:
    def check(log: bytes, cuts: list[int], rarely: bool) -> None:
        check_laws(parser, log, cuts)
        if rarely:
            check_linear(parser, b"", log[:4000].replace(b"\n", b" ") or b"x", b"")
            check_bounded(parser, log)

    return check


def response(content_type: str, coding: str) -> Target:
    """Total, and cut-proof: however a body arrives, the proxy reads the same. What zlib gives of a damaged body depends
    on the cuts, so only whole ones are compared.
    """

    def read(body: bytes, places: Iterable[int]) -> ResponseSummary:
        reader = ResponseReader(200, [("Content-Type", content_type), ("Content-Encoding", coding)])
        begin = 0
        for end in (*sorted(places), len(body)):
            reader.feed(body[begin:end], 0.0)
            begin = end
        return reader.result()

    def check(body: bytes, cuts: list[int], rarely: bool) -> None:
        if coding == "gzip":
            read(body, cuts)
            body = gzip.compress(body, 1, mtime=0)
        whole = read(body, ())
        assert read(body, cuts) == whole
        assert not rarely or read(body, range(1, len(body))) == whole

    return check


def request(read: Callable[[bytes], Reading]) -> Target:
    """Total: a request gives facts or one of two errors, and each line is one that the parser takes."""

    def check(body: bytes, cuts: list[int], rarely: bool) -> None:
        try:
            reading = read(body)
        except (UnreadableBody, TooManyItems):
            return
        for fact in reading.facts:
            for part in (fact, *([fact.rest] if fact.rest else [])):
                assert part.key in known_by(part.line).keys
                batch = Dify().parse(part.line)
                assert (batch.lines, batch.observed) == (1, 1)

    return check


_REQUESTS: tuple[Target, ...] = (
    request(lambda body: read_otlp(body, is_json=False, native=True)),
    request(lambda body: read_otlp(body, is_json=True, native=True)),
    request(read_langfuse),
)
_RESPONSES = tuple(response(kind, coding) for kind in (_JSON, _EVENTS) for coding in ("identity", "gzip"))
TARGETS: list[Target] = [*map(laws, PARSERS), *_RESPONSES, *_REQUESTS]


class Fuzz:
    def __init__(self) -> None:
        self._count = 0

    def one(self, data: bytes) -> None:
        if len(data) < _HEAD:
            return
        self._count += 1
        log = data[_HEAD : _HEAD + _LONGEST]
        cuts = [len(log) * place // 256 for place in data[1:_HEAD]]
        begun = time.process_time()
        TARGETS[data[0] % len(TARGETS)](log, cuts, self._count % _RARE == 0)
        if self._count % _RARE:
            spent = time.process_time() - begun
            assert spent < _LIMIT_SECONDS, f"{len(log)} bytes took {spent:.1f} s"


def logs() -> Iterator[bytes]:
    """Pieces of the samples and of the logs of a real Dify."""
    for path in (*(ROOT / "samples").glob("*.log"), *(ROOT / "tests/real_dify").glob("*/*.log*")):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        begin = 0
        while begin < min(len(text), 10 * _CHUNK):
            end = text.find(b"\n", begin + _CHUNK) + 1 or len(text)
            yield text[begin:end]
            begin = end


RESPONSES = (
    b'{"event":"message","answer":"hi","metadata":{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,'
    b'"total_price":"0.0001","currency":"USD"}}}',
    b'{"workflow_run_id":"r","data":{"status":"failed","total_tokens":150}}',
    b'{"code":"provider_quota_exceeded","message":"m","status":400}',
    b'data: {"event":"text_chunk","data":{"text":"a\\"b"}}\n\nevent: ping\n\ndata: {"event":"node_finished","data":'
    b'{"node_type":"llm","process_data":{"model_name":"m","model_provider":"p","usage":{"prompt_tokens":3,'
    b'"completion_tokens":4,"total_tokens":9}},"execution_metadata":{"total_tokens":9}}}\n\ndata: {"event":'
    b'"workflow_finished","data":{"status":"succeeded","total_tokens":9}}\n\n',
    b'data: {"event":"message","answer":"x"}\n\ndata: {"event":"error","code":"rate_limit_error"}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"model":"m","usage":{"prompt_tokens":1,"total_tokens":2}}\n\n',
)


def seed(folder: Path) -> None:
    """One input for each piece and each parser that reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    places = b"\x55\xaa"
    for piece in logs():
        for number, parser in enumerate(PARSERS):
            if parser.parse(piece, final=True).records:
                write(folder, bytes([number]) + places + piece)
    for body in RESPONSES:
        for number in range(len(PARSERS), len(PARSERS) + len(_RESPONSES)):
            write(folder, bytes([number]) + places + body)
    for channel in ("phoenix", "langfuse", "native"):
        for sent in requests(channel):
            number = len(TARGETS) - (1 if channel == "langfuse" else 3)
            write(folder, bytes([number]) + places + sent.body[:_LONGEST])
    for line in (ROOT / "samples/collector.log").read_bytes().splitlines():
        write(folder, bytes([len(TARGETS) - 2]) + places + line)


def write(folder: Path, data: bytes) -> None:
    (folder / f"seed-{hash(data) & 0xFFFFFFFFFFFF:x}").write_bytes(data)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=5.0)
    arguments.add_argument("file", type=Path, nargs="?", help="a finding to run again")
    given = arguments.parse_args()
    assert len(TARGETS) < 256
    if given.file:
        Fuzz().one(given.file.read_bytes())
        return
    seed(FOLDER / "corpus")
    options = [
        f"-max_total_time={round(60 * given.minutes)}",
        f"-max_len={_LONGEST}",
        "-timeout=60",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
        f"-artifact_prefix={FOLDER}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(FOLDER / "corpus")], Fuzz().one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
