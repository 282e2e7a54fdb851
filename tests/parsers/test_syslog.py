"""The fronts that syslog daemons and journalctl put before a line."""

import pytest

from parsers.batch import Batch, Failure, Request
from parsers.dify import Dify
from parsers.envelope import Syslog
from parsers.nginx import Nginx
from tests.parsers.laws import check_every_cut, check_linear

ACCESS = b"2026-11-29 08:00:01.100 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 1 "
INFO = Request("GET", "/v1/info", "200", handler_durations=(1_000_000,))
JSON = b'{"ts":"2026-11-29T08:00:01.100Z","severity":"INFO","service":"api","caller":"ext_request_logging.py:73","message":"GET /v1/info 200 1 "}'


def outcome(batch: Batch) -> tuple[int, int, int, dict[str, int]]:
    return batch.lines, batch.observed, batch.ignored, dict(batch.unparsed)


@pytest.mark.parametrize(
    "front",
    [
        b"Nov 29 08:00:01 host api[17]: ",
        b"Nov  9 08:00:01 host api: ",
        b"Nov 29 2026 08:00:01 host api[17]: ",
        b"<30>Nov 29 08:00:01 host api[17]: ",
        b"<30>Nov 29 08:00:01 api[17]: ",  # without a host, like nginx with syslog:…,nohostname
        b"Nov 29 08:00:01 host ",  # without a tag
        b"Nov 29 08:00:01 2001:db8::1 api[17]: ",
        b"Nov 29 08:00:01 host 4d5e6f708192[1234]: ",  # Docker's syslog driver: the id of a container
        b"Nov 29 08:00:01 host docker/dify-api-1[1234]: ",
        b"Nov 29 08:00:01.123456 host docker[1]: ",  # journalctl -o short-precise
        b"2026-11-29T08:00:01+0000 host api[17]: ",  # short-iso of older systemd
        b"2026-11-29T08:00:01+00:00 host api[17]: ",
        b"2026-11-29T08:00:01.123456+0000 host api[17]: ",  # short-iso-precise
        b"2026-11-29T08:00:01.123456+08:00 host api[17]: ",  # RSYSLOG_FileFormat
        b"Sun 2026-11-29 08:00:01 UTC host api[17]: ",  # short-full
        b"Sun 2026-11-29 08:00:01 CST host docker.service[1]: ",  # with-unit
        b"1764403201.123456 host api[17]: ",  # short-unix
        b"[   12.345678] host api[17]: ",  # short-monotonic
        b"<30>1 2026-11-29T08:00:01.123Z host api 17 - - ",
        b"<30>1 2026-11-29T08:00:01.123456+08:00 host api 17 ID47 - \xef\xbb\xbf",
        b"<30>1 - - - - - - ",
        b"<30>1 2026-11-29T08:00:01Z host api 17 - -  ",  # RSYSLOG_SyslogProtocol23Format
        b'<30>1 2026-11-29T08:00:01Z host api 17 - [a@1 k="v \\" ] [x" l=""][b@2] ',
    ],
)
@pytest.mark.parametrize("line", [ACCESS, JSON], ids=["text", "json"])
def test_a_front_is_removed(front: bytes, line: bytes) -> None:
    batch = Syslog(parser=Dify()).parse(front + line + b"\n")
    assert ([type(record) for record in batch.records], outcome(batch)) == ([Request], (1, 1, 0, {}))
    assert Syslog(parser=Dify()).matched_length(front + b"2026-11-29 nonsense") >= len(front)
    if line == ACCESS:
        check_every_cut(Syslog(parser=Dify()), front + line + b"\n")


def test_syslog_lines_of_nginx() -> None:
    """ngx_syslog.c: `<190>Nov 29 08:00:01 HOST nginx: LINE`."""
    line = b'2001:db8::1 - - [29/Nov/2026:08:00:01 +0000] "GET /v1/info HTTP/1.1" 200 5 "-" "a: b[1]: c" "-"'
    for front in (b"<190>Nov 29 08:00:01 host nginx: ", b"<190>Nov 29 08:00:01 nginx: "):
        assert Syslog(parser=Nginx()).parse(front + line + b"\n").records == Nginx().parse(line + b"\n").records


@pytest.mark.parametrize("end", [b"", b"#012", b'#012Traceback (most recent call last):#012  File "a.py"#012'])
def test_an_escaped_newline_does_not_split_a_record(end: bytes) -> None:
    """rsyslog's $EscapeControlCharactersOnReceive, on by default."""
    line = b"2026-11-29 08:00:01.100 ERROR [Dummy-1] [app.py:875]  - Exception on /console/api/x [POST]"
    log = b"Nov 29 08:00:01 host api[17]: " + line + end + b"\n"
    batch = Syslog(parser=Dify()).parse(log)
    assert (batch.records, outcome(batch)) == ((Failure("unhandled_exception"),), (1, 1, 0, {}))


@pytest.mark.parametrize("text", [b"#012", b"#012" + ACCESS, b" api[17]: " + ACCESS, b"\\n"])
def test_a_client_can_neither_forge_nor_hide_a_record(text: bytes) -> None:
    """A path may contain the text that rsyslog writes for a newline."""
    log = (
        b"Nov 29 08:00:01 host api[17]: "
        + ACCESS.replace(b"/v1/info", b"/v1/info" + text.replace(b" ", b"%20"))
        + b"\n"
    )
    batch = Syslog(parser=Dify()).parse(log)
    assert outcome(batch) == (1, 1, 0, {})
    assert sum(record.count for record in batch.records if isinstance(record, Request)) == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"-- Logs begin at Sat 2026-11-28 08:00:00 UTC, end at Sun 2026-11-29 08:00:00 UTC. --", "ignored"),
        (b"-- Journal begins at Sat 2026-11-28 08:00:00 UTC. --", "ignored"),
        (b"-- Boot 0123456789abcdef0123456789abcdef --", "ignored"),
        (b"-- No entries --", "ignored"),
        (b"                                  the second line of a message", "ignored"),
        (b"", "ignored"),
        (ACCESS, "unparsed"),
        (b"Nov 29 08:00:01", "unparsed"),
        (b"Nov 29 8:00:01 host api[17]: x", "unparsed"),
        (b"<30>1 2026-11-29T08:00:01Z host api 17 - [a@1 k=\"v] x", "unparsed"),
        (b"<30>hello", "unparsed"),
    ],
)  # fmt: skip
def test_other_lines(line: bytes, expected: str) -> None:
    batch = Syslog(parser=Dify()).parse(line + b"\n")
    assert outcome(batch) == ((1, 0, 1, {}) if expected == "ignored" else (1, 0, 0, {"envelope": 1}))


@pytest.mark.parametrize(
    "beginning", [b"", b"Nov 29 08:00:01 ", b"Nov 29 08:00:01 host api", b"<30>1 - - - - - ", b'<30>1 - - - - - [a b="', b"<30>1 "]
)  # fmt: skip
def test_fronts_are_read_in_linear_time(beginning: bytes) -> None:
    for noise in (b" ", b"a", b"a:", b"[", b'[a b="c"]', b' b="c"', b"\\", b'\\"', b'"', b"] ", b"#012", b"- "):
        check_linear(Syslog(parser=Dify()), beginning, noise, b": x")
