"""The formats that container runtimes and compose put around log lines."""

import json
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.batch import Batch, Invocation, Request
from parsers.dify import Dify
from parsers.envelope import ENVELOPES, Compose, Cri, Docker, Envelope, Syslog
from parsers.nginx import Nginx
from parsers.plugin_daemon import PluginDaemon

CUT = 16 * 1024
ACCESS = "2026-11-23 08:53:08.820 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 1 "
INFO = Request("GET", "/v1/info", "200", handler_durations=(1_000_000,))
LLM = "/plugin/118f3deb-3190-4859-98d1-4d927b6f5184/dispatch/llm/invoke"
GIN = f'[GIN] 2026/03/07 - 23:36:18 | 200 |  2.5s |  ::1 | POST     "{LLM}"'
CALL = Invocation("invoke_llm", "200", 2_500_000_000)


def docker(text: str, stream: str = "stdout") -> bytes:
    return json.dumps({"log": text, "stream": stream, "time": "2026-11-23T08:53:08.8Z"}).encode() + b"\n"


def pieces(line: str, stream: str = "stdout") -> list[bytes]:
    """Return the pieces that Docker splits an ASCII line into."""
    text = line + "\n"
    return [docker(text[at : at + CUT], stream) for at in range(0, len(text), CUT)]


def outcome(batch: Batch) -> tuple[int, int, int, dict[str, int]]:
    return batch.lines, batch.observed, batch.ignored, dict(batch.unparsed)


LONG = ACCESS.replace("/v1/info", "/v1/" + "x" * 40_000)
LONG_STATUS = Request("GET", "other", "200", handler_durations=(1_000_000,))


@pytest.mark.parametrize(
    ("line", "records", "expected"),
    [
        (docker(ACCESS + "\n"), [INFO], (1, 1, 0, {})),
        (docker(ACCESS + "\r\n"), [INFO], (1, 1, 0, {})),
        (docker(ACCESS), [INFO], (1, 1, 0, {})),
        (b'{"log":"%s\\n"}\n' % ACCESS.encode(), [INFO], (1, 1, 0, {})),
        (b'{"stream":7,"attrs":{"tag":"x"},"log":"%s\\n"}\r\n' % ACCESS.encode(), [INFO], (1, 1, 0, {})),
        (b'{"log":"%s\\ud800\\n","stream":"stdout"}\n' % ACCESS.encode(), [INFO], (1, 1, 0, {})),
        (docker("\n"), [], (1, 0, 1, {})),
        (docker(""), [], (1, 0, 1, {})),
        (b"\n", [], (1, 0, 1, {})),
        (b'{"stream":"stdout"}\n', [], (1, 0, 0, {"envelope": 1})),
        (b'{"log":7}\n', [], (1, 0, 0, {"envelope": 1})),
        (b'{"log":"a\\nb\\n"}\n', [], (1, 0, 0, {"envelope": 1})),
        (b'{"log":"half\n', [], (1, 0, 0, {"envelope": 1})),
        (b"[" * 9999 + b"\n", [], (1, 0, 0, {"envelope": 1})),
        (ACCESS.encode() + b"\n", [], (1, 0, 0, {"envelope": 1})),
    ],
)
def test_a_docker_record(line: bytes, records: list[Request], expected: tuple[object, ...]) -> None:
    batch = Docker(parser=Dify()).parse(line)
    assert (list(batch.records), outcome(batch), batch.consumed) == (records, expected, len(line))


def test_a_long_line_is_one_record_of_many_pieces() -> None:
    cut = pieces(LONG)
    assert len(cut) == 3
    batch = Docker(parser=Dify()).parse(b"".join(cut))
    assert list(batch.records) == [LONG_STATUS]
    assert outcome(batch) == (3, 1, 2, {})


def test_the_streams_of_a_container_are_separated() -> None:
    out, err = pieces(LONG), pieces(LONG, "stderr")
    log = [out[0], err[0], docker(ACCESS + "\n", "other"), err[1], out[1], out[2], docker(ACCESS + "\n"), err[2]]
    batch = Docker(parser=Dify()).parse(b"".join(log))
    assert sorted(batch.records, key=repr) == sorted([LONG_STATUS] * 2 + [INFO] * 2, key=repr)
    assert outcome(batch) == (8, 4, 4, {})


def test_nothing_behind_an_open_line_is_consumed() -> None:
    """A position is only at a place where no line is open."""
    first = docker(ACCESS + "\n")
    out = pieces(LONG)
    parser = Docker(parser=Dify())
    log = first + out[0] + docker(ACCESS + "\n", "stderr") + out[1]
    batch = parser.parse(log)
    assert (batch.consumed, list(batch.records)) == (len(first), [INFO])
    whole = parser.parse(log[batch.consumed :] + out[2])
    assert (whole.consumed, outcome(whole)) == (len(log + out[2]) - len(first), (4, 2, 2, {}))


def test_the_piece_of_a_killed_container_blocks_nothing() -> None:
    """The piece is shorter than the pieces of Docker, so its newline will never come."""
    parser = Docker(parser=Dify())
    killed = docker(ACCESS[:60])
    batch = parser.parse(killed + docker(ACCESS + "\n"))
    assert (batch.consumed, list(batch.records)) == (len(killed + docker(ACCESS + "\n")), [INFO])
    late = [*pieces(LONG)[:2], docker("y" * 100), docker(ACCESS + "\n")]
    assert parser.parse(b"".join(late)).records[-1] == INFO


@pytest.mark.parametrize(("length", "open"), [(CUT - 1, False), (CUT, True), (CUT + 1, True)])
def test_a_piece_is_open_from_the_length_of_dockers_pieces(length: int, open: bool) -> None:
    line = docker("x" * length)
    assert Docker(parser=Dify()).parse(line).consumed == (0 if open else len(line))
    assert Docker(parser=Dify()).parse(docker("x" * length + "\n")).consumed
    assert Docker(parser=Dify()).parse(line, final=True).consumed == len(line)


def test_bytes_that_are_not_utf_8_grow_and_stay_open() -> None:
    """Docker writes each such byte as U+FFFD, so 16 KiB become 48 KiB."""
    line = json.dumps({"log": "\ufffd" * CUT, "stream": "stdout"}, ensure_ascii=False).encode() + b"\n"
    assert Docker(parser=Dify()).parse(line).consumed == 0


@pytest.mark.parametrize(
    ("lines", "records", "expected"),
    [
        ([f"2026-11-23T08:53:08.8989382Z stdout F {ACCESS}"], [INFO], (1, 1, 0, {})),
        ([f"2026-11-23T08:53:08+08:00 stderr F {ACCESS}\r"], [INFO], (1, 1, 0, {})),
        ([f"2026-11-23T08:53:08Z stdout F:tag:more {ACCESS}"], [INFO], (1, 1, 0, {})),
        (["2026-11-23T08:53:08Z stdout F", "2026-11-23T08:53:08Z stdout F "], [], (2, 0, 2, {})),
        (
            [f"2026-11-23T08:53:08Z stdout P {ACCESS[:30]}", f"2026-11-23T08:53:08Z stdout F {ACCESS[30:]}"],
            [INFO],
            (2, 1, 1, {}),
        ),
        (
            [
                f"2026-11-23T08:53:08Z stdout P:x {ACCESS[:30]}",
                f"2026-11-23T08:53:08Z stderr P {ACCESS[:9]}",
                f"2026-11-23T08:53:08Z stdout P {ACCESS[30:40]}",
                f"2026-11-23T08:53:08Z stderr F {ACCESS[9:]}",
                f"2026-11-23T08:53:08Z stdout F {ACCESS[40:]}",
            ],
            [INFO, INFO],
            (5, 2, 3, {}),
        ),
        ([f"2026-11-23T08:53:08Z stdlog F {ACCESS}", "2026-11-23T08:53:08Z stdout X x"], [], (2, 0, 0, {"envelope": 2})),
        ([ACCESS, ""], [], (2, 0, 1, {"envelope": 1})),
    ],
)  # fmt: skip
def test_cri_lines(lines: list[str], records: list[Request], expected: tuple[object, ...]) -> None:
    log = "".join(line + "\n" for line in lines).encode()
    batch = Cri(parser=Dify()).parse(log)
    assert (list(batch.records), outcome(batch), batch.consumed) == (records, expected, len(log))


def test_a_partial_line_waits_for_its_end() -> None:
    partial = f"2026-11-23T08:53:08Z stdout P {ACCESS}\n".encode()
    assert Cri(parser=Dify()).parse(partial) == Batch()
    assert list(Cri(parser=Dify()).parse(partial, final=True).records) == [INFO]


@pytest.mark.parametrize(
    "prefix",
    [
        "api-1  | ",
        "api_1      | ",
        "docker-api-1  | ",
        "plugin-daemon-1  | ",
        "plugin_daemon-1  | ",
        "api-1  |",
        "2026-03-07 23:36:18 sandbox-1        | ",
        "\x1b[36mapi-1  | \x1b[0m",
        "\x1b[36mapi-1  |\x1b[0m ",
        "api-1  | 2026-03-07T23:36:18.123456789Z ",
        "2026-03-07 23:36:18 api-1  | 2026-03-07T23:36:18.123456789Z ",
    ],
)
@pytest.mark.parametrize(
    ("parser", "line", "record"),
    [
        (Dify(), ACCESS, INFO),
        (PluginDaemon(), GIN, CALL),
        (
            PluginDaemon(),
            f"2026-05-21T03:08:03.1Z INFO dify-plugin-daemon m.go:83 HTTP request latency_ms=2500 path={LLM} status=200",
            CALL,
        ),
        (
            Nginx(),
            '::1 - - [24/Nov/2026:11:11:42 +0000] "GET /v1/info HTTP/1.1" 200 5 "-" "a | b" "-"',
            Request("GET", "/v1/info", "200", "", 1, 5),
        ),
    ],
    ids=["dify", "gin", "daemon", "nginx"],
)
def test_the_prefixes_of_compose(
    prefix: str, parser: Dify | PluginDaemon | Nginx, line: str, record: Request | Invocation
) -> None:
    """The prefix is removed once, because the content may contain ` | ` too."""
    batch = Compose(parser=parser).parse(f"{prefix}{line}\n".encode())
    assert (list(batch.records), outcome(batch)) == ([record], (1, 1, 0, {}))


@pytest.mark.parametrize("line", ["nginx-1 exited with code 1", "Attaching to api-1", "", "Gracefully stopping..."])
def test_a_line_without_a_bar_is_a_message_of_compose(line: str) -> None:
    batch = Compose(parser=Dify()).parse(line.encode() + b"\n")
    assert outcome(batch) == (1, 0, 1, {})


@pytest.mark.parametrize("envelope", [Docker, Cri, Compose])
def test_the_matched_length_includes_the_envelope(envelope: type[Envelope]) -> None:
    line = {
        Docker: docker("2026-11-23 08:53:08.820 nonsense\n").rstrip(),
        Cri: b"2026-11-23T08:53:08Z stdout F 2026-11-23 08:53:08.820 nonsense",
        Compose: b"api-1  | 2026-11-23 08:53:08.820 nonsense",
    }[envelope]
    assert envelope(parser=Dify()).matched_length(line) == line.index(b"nonsense")
    assert envelope(parser=Dify()).matched_length(b"x") == 0


TEXTS = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.sampled_from([ACCESS, LONG, "x", "", "y" * CUT])), max_size=6
)


@settings(max_examples=settings.default.max_examples * 3 // 5)
@given(texts=TEXTS, chance=st.randoms(use_true_random=False))
def test_any_interleaving_of_two_streams_gives_the_same_records(
    texts: list[tuple[str, str]], chance: st.DataObject
) -> None:
    """Docker writes the pieces of each stream in order, but the streams may be mixed in any way."""
    queues: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    for stream, text in texts:
        queues[stream] += pieces(text, stream)
    log: list[bytes] = []
    while rest := [queue for queue in queues.values() if queue]:
        log.append(chance.choice(rest).pop(0))
    batch = Docker(parser=Dify()).parse(b"".join(log))
    plain = Dify().parse("".join(text + "\n" for _, text in texts).encode())

    def sorted_records(records: Iterable[object]) -> list[str]:
        return sorted(map(repr, records))

    assert sorted_records(batch.records) == sorted_records(plain.records)
    assert batch.consumed == len(b"".join(log))
    assert (batch.observed, batch.unparsed) == (plain.observed, plain.unparsed)


NULS = b"\0" * 40


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_a_run_of_nuls_affects_no_other_line(envelope: type[Envelope]) -> None:
    """A power failure leaves such a run in front of a whole line."""
    fronts = {Cri: "2026-11-23T08:53:08Z stdout F ", Compose: "api-1  | ", Syslog: "Nov 29 08:00:01 host api[17]: "}
    line = fronts[envelope].encode() + ACCESS.encode() + b"\n" if envelope in fronts else docker(ACCESS + "\n")
    batch = envelope(parser=Dify()).parse(line + NULS + line + line[:20] + NULS + b"\n" + line)
    assert list(batch.records) == [INFO] * 3
