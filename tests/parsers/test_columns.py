"""Columns and rows give the same result for any block, and columns are used for large blocks."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.access import columns, heads, words
from parsers.access import rows as access
from parsers.envelope import Compose, Cri, Docker, Envelope
from parsers.frame import Frame
from parsers.nginx import Nginx
from parsers.nginx.log_format import COMBINED, DIFY, TIMED
from parsers.values.times import common_log
from tests.golden import ROOT
from tests.parsers.laws import summed

FORMATS = [DIFY, TIMED, COMBINED, '$host|$status $bytes_sent "$request" "$upstream_header_time"', '"$request" $status']
PARSERS = {format: Nginx(format=format) for format in FORMATS}

#: Values of variables: usual ones, and those that columns must leave to the rows.
NUMBERS = ["", "-", "0", "7", "00", "12345678", "123456789", "1.5", "..", "x", "٣", "1 2", "-1", "+1", "1_0", "5\r"]
SECONDS = [
    "",
    "-",
    "0.000",
    "0",
    "12",
    "9.999",
    "10.000",
    "1234.567",
    "12345.678",
    "1.5",
    ".500",
    "1.5000",
    "0.1x3",
    "-, 0.003",
    "0:123",
]
USUAL = {
    "remote_addr": ["192.0.2.1", "2026-11-24T09:04:19Z", "2001:db8::1", "1", "", "a b", "x" * 60, "a-", "\r1", "é"],
    "host": ["dify.example", "2026-11-24T09:04:19Z ", "\x1b[0m", "a|b", "", "x" * 49, "a b c d e f g h"],
    "remote_user": ["-", "", "user", "a b", "- [24/Nov/2026:09:04:19 +0000]"],
    "time_local": ["24/Nov/2026:09:04:19 +0000", "24/Nov/2026:09:04:20 +0000", "24/Nov/2026:01:00:00 +0000", "31/Foo/2026:99:99:99 +0000", "24/Nov/2026 09:04:19 +0000", ""],
    "status": ["200", "404", "599", "999", "000", "20", "2000", "2.0", "abc", "", "-"],
    "body_bytes_sent": NUMBERS,
    "bytes_sent": NUMBERS,
    "request_time": SECONDS,
    "upstream_header_time": SECONDS,
    "request": [
        "GET /v1/info HTTP/1.1", "POST /v1/chat-messages?a=b HTTP/1.0", "GET /v1/info?a=b c HTTP/1.1", "GET / HTTP/2.0", "-", "",
        "GET /console/api/apps/cbf27734-ac10-3525-0b66-402800e03d2c HTTP/1.1",
        "GET /console/api/apps/01234567-89ab-cdef-0123-456789abcdef HTTP/1.1",
        "GET /eonsole/api/apps/01234567-89ab-cdef-0123-456789abcdef HTTP/1.1",
        "GET /v1/info", "GET /v1/info HTTP/1.1 HTTP/1.1", "GET /v1/a\\x22b HTTP/1.1", "GET /a?\\x20 HTTP/1.1", "G\\x00 / HTTP/1.1",
        "GET /v1/%69nfo HTTP/1.1", "GET http://h/v1/info HTTP/1.1", "PRI * HTTP/2.0", "get /v1/info HTTP/1.9", "?/ HTTP/1.1",
        "GET /v1/info#x HTTP/1.1", "GET /v1/info HTTP/11.1", "\xa0 /v1/info HTTP/1.1", " HTTP/1.1", "/v1 HTTP/1.1", "GET  HTTP/1.1",
    ],
}  # fmt: skip
NOISE = [
    b"",
    b"\r",
    b'"',
    b'""""""',
    b" ",
    b"GET / HTTP/1.1",
    b'"GET / HTTP/1.1" 200\r',
    b"\xff" * 20,
    b"\x00",
    b'" "' * 9,
    b"?" * 9,
]


@st.composite
def lines(draw: st.DrawFn, format: str) -> bytes:
    """Return a line of the format, a broken line, or noise."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.sampled_from(NOISE) | st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"")))
    line = format
    for name in sorted(set(re.findall(r"\$(\w+)", format)), key=len, reverse=True):
        usual = USUAL.get(name, ["-", "anything", "a b", "0.1, 0.2"])
        line = line.replace(f"${name}", usual[0] if kind > 3 else draw(st.sampled_from(usual)))
    text = line.encode()
    if kind == 1:
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from([b"", b'"', b" ", b"\\", b"?", b"0"]))
            + text[at + draw(st.integers(0, 2)) :]
        )
    return text


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
def test_columns_and_rows_give_the_same_result(format: str, data: st.DataObject) -> None:
    parser = PARSERS[format]
    log = b"\n".join(data.draw(st.lists(lines(format), max_size=25))) + data.draw(st.sampled_from([b"", b"\n"]))
    with pytest.MonkeyPatch.context() as patch:
        rows = parser.parse(log, final=True)
        patch.setattr(access, "_LARGE", 1)
        patch.setattr(columns, "_PART", data.draw(st.sampled_from([1, 500, 1 << 20])))
        patch.setattr(words, "_SEARCHED", data.draw(st.sampled_from([7, 1 << 18])))
        if data.draw(st.booleans()):  # all heads seem to have one shape
            patch.setattr(heads, "sums", lambda texts, _: texts.lengths.view("u8") * 0)
        found = parser.parse(log, final=True)
    assert summed([found]) == summed([rows])
    assert found.examples == rows.examples
    assert (found.consumed, found.lines) == (rows.consumed, rows.lines)


def one_by_one(envelope: type[Envelope]) -> type[Envelope]:
    """Return the envelope with each line unwrapped by itself."""

    class Plain(envelope, frozen=True):  # type: ignore[misc, valid-type]
        def frame(self, line: bytes) -> Frame | None:
            return None

        def contents(self, block: bytes) -> tuple[bytes, int] | None:
            return None

    return Plain


PLAIN = {envelope: one_by_one(envelope) for envelope in (Docker, Cri, Compose)}


#: Texts that a record gets in place of one of its own, or in addition: they make it invalid, or change its line.
SPLINTERS = [
    b"", b'"', rb"\"", rb"\\", b"\\", rb"\u0026", rb"\u003c", rb"\u0022", rb"\u005c", rb"\u0020", rb"\\u0026", rb"\n", rb"\t", b"\t", b"\r", b"\0",
    b"\n", b"\xff", "é".encode(), b"&", b"<", b"}{", b"{", b"}", b",", b"n", b"u", b" ", b'"}\n{"log":"', rb'\n","stream":"stdout","time":"',
    rb'\n","stream":"stderr","time":"', b'{"log":"', b'"}',
]  # fmt: skip


def record(line: bytes, end: str = "\n", stream: str = "stdout", time: str = "2026-11-24T09:04:19.123456789Z") -> bytes:
    """Wrap a line as Docker does."""
    fields = {"log": line.decode("utf-8", "replace") + end, "stream": stream, "time": time}
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e").encode()


def cri(line: bytes, time: str = "2026-11-24T09:04:19.123456789Z", stream: str = "stdout", tag: str = "F") -> bytes:
    """Wrap a line as container runtimes do for Kubernetes."""
    return f"{time} {stream} {tag} ".encode() + line


def compose(line: bytes, prefix: str = "nginx-1  | ") -> bytes:
    """Wrap a line as `docker compose logs` prints it."""
    return prefix.encode() + line


WRAPS: dict[type[Envelope], Callable[[bytes], bytes]] = {Docker: record, Cri: cri, Compose: compose}

#: What a head may be: usual ones, and those that the usual way reads or refuses.
TIMES = [
    "2026-11-24T09:04:19.123456789Z",
    "2026-11-24T09:04:19.1Z",
    "2026-11-24T09:04:19Z",
    "2026-11-24T09:04:19.123456789+00:00",
    "",
    "x" * 200,
]
TAGS = ["F"] * 9 + ["P", "F:x", "f", "F ", ""]
PREFIXES = ["nginx-1  | ", "nginx-12 | ", "web-1 | ", "redis-1  | ", "nginx-1  |", "nginx-1  | \x1b[0m", "\x1b[36mnginx-1  | \x1b[0m", "nginx-1  | 2026-11-24T09:04:19Z ", ""]  # fmt: skip


@st.composite
def records(draw: st.DrawFn, envelope: type[Envelope], format: str) -> bytes:
    """Return a line as an envelope stores it, or a broken record."""
    line = draw(lines(format)) + draw(st.sampled_from([b"", b"", b"", b"?a=1&b=<2>", b"\\", b"\r"]))
    stream = draw(st.sampled_from(["stdout", "stdout", "stderr", "", "other"]))
    time = draw(st.sampled_from(TIMES[:1] * 9 + TIMES))
    if envelope is Docker:
        text = record(line, draw(st.sampled_from(["\n"] * 9 + ["", "\r\n", "\n\n"])), stream, time)
    elif envelope is Cri:
        text = cri(line, time, stream, draw(st.sampled_from(TAGS)))
    else:
        text = compose(line, draw(st.sampled_from(PREFIXES[:1] * 9 + PREFIXES)))
    if draw(st.integers(0, 3)):
        return text
    begin = draw(
        st.integers(0, len(text)) | st.sampled_from([8, text.find(b'\\n"'), text.find(b'\\"'), text.find(b"?")])
    )
    begin = max(0, begin)
    return text[:begin] + draw(st.sampled_from(SPLINTERS)) + text[begin + draw(st.integers(0, 2)) :]


@pytest.mark.parametrize("envelope", WRAPS)
@pytest.mark.parametrize("format", FORMATS[1::2])
@given(data=st.data())
def test_lines_read_where_they_are_stored_give_the_result_of_unwrapped_ones(
    format: str, envelope: type[Envelope], data: st.DataObject
) -> None:
    parser = PARSERS[format]
    stored = data.draw(st.lists(records(envelope, format), max_size=12))
    log = b"\n".join(stored) + data.draw(st.sampled_from([b"", b"\n"]))
    unwrapped = PLAIN[envelope](parser=parser).parse(log, final=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(access, "_LARGE", 1)
        patch.setattr(columns, "_PART", data.draw(st.sampled_from([1, 500, 1 << 20])))
        patch.setattr(columns, "_MOST_FRAMES", data.draw(st.sampled_from([1, 16])))
        patch.setattr(words, "_SEARCHED", data.draw(st.sampled_from([7, 1 << 18])))
        found = envelope(parser=parser).parse(log, final=True)
    assert summed([found]) == summed([unwrapped])
    assert found.examples == unwrapped.examples


#: Where a splinter gets into a record: in its head, line, tail and end.
PLACES = {
    Docker: [b'"log', b':"', b"192", b"/info", b"?a", b"curl", rb"-\"\n", b'","stream', b"out", b"time", b"09:04:19.1", b'"}', b"}"],
    Cri: [b"2026", b"6-11", b"T09", b"89Z", b"Z std", b"out", b"F ", b" 192", b"/info", b"?a", b"curl"],
    Compose: [b"nginx", b"-1", b"  | ", b"| ", b" 192", b"/info", b"?a", b"curl"],
}  # fmt: skip


@pytest.mark.system
@pytest.mark.parametrize(
    ("envelope", "place"), [(envelope, place) for envelope, places in PLACES.items() for place in places]
)
def test_a_splinter_in_a_record_is_not_overlooked(
    envelope: type[Envelope], place: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not if another record has a quote too many, which a quote that is missing here would make up for."""
    monkeypatch.setattr(access, "_LARGE", 1)
    wrap = WRAPS[envelope]
    usual = wrap(b'192.0.2.1 - - [24/Nov/2026:09:04:19 +0000] "GET /v1/info?a=b HTTP/1.1" 200 7 "-" "curl" "-"')
    other = usual.replace(b"curl", b'cu"rl')
    for splinter in SPLINTERS:
        for begin in (usual.index(place), usual.index(place) + len(place)):
            odd = usual[:begin] + splinter + usual[begin + 1 :]
            log = b"\n".join([usual, odd, other, b""] if begin % 2 else [usual, odd, wrap(b"notice"), b""])
            found, unwrapped = (kind(parser=PARSERS[DIFY]).parse(log) for kind in (envelope, PLAIN[envelope]))
            assert (summed([found]), found.examples) == (summed([unwrapped]), unwrapped.examples), odd


@pytest.mark.parametrize(
    ("format", "line", "odd"),
    [
        ('$host&$status "$request"', 'h&200 "GET / HTTP/1.1"', rb"h\u0026i&200 \"GET / HTTP/1.1\""),
        ('$status "$request" "$a"', '200 "GET / HTTP/1.1" "curl"', rb"200 \tGET / HTTP/1.1\" \"curl\""),
    ],
)
def test_escapes_that_columns_do_not_know_are_left_to_the_usual_way(
    format: str, line: str, odd: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_LARGE", 1)
    usual = record(line.encode())
    text = usual[8 : usual.index(rb"\n")]
    extra = usual.replace(b"curl", b'cu"rl')
    log = b"\n".join([usual, usual.replace(text, odd), extra if rb"\t" in odd else usual, b""])
    found, unwrapped = (kind(parser=Nginx(format=format)).parse(log) for kind in (Docker, PLAIN[Docker]))
    assert (summed([found]), found.examples) == (summed([unwrapped]), unwrapped.examples)


@pytest.mark.parametrize("time", ["Z", ""])
def test_a_record_without_the_beginning_of_its_time_is_not_valid(time: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its quote is missing, and another record has one too many."""
    monkeypatch.setattr(access, "_LARGE", 1)
    usual = record(b'192.0.2.1 - - [24/Nov/2026:09:04:19 +0000] "GET / HTTP/1.1" 200 7 "-" "curl" "-"', time=time)
    log = b"\n".join([usual.replace(b'"' + time.encode() + b'"}', b'"}'), usual.replace(b"curl", b'cu"rl'), b""])
    found, unwrapped = (kind(parser=PARSERS[DIFY]).parse(log) for kind in (Docker, PLAIN[Docker]))
    assert (summed([found]), found.unparsed) == (summed([unwrapped]), {"envelope": 2})


@pytest.mark.parametrize("envelope", WRAPS)
@pytest.mark.parametrize("address", [b"2026-11-24T09:04:19Z", b"\x1b[0m", b"\r1", b"nginx-1  | 1"])
def test_a_content_that_the_usual_way_changes_is_not_read_where_it_is_stored(
    envelope: type[Envelope], address: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, `docker compose logs --timestamps` adds a time behind the usual prefix."""
    monkeypatch.setattr(access, "_LARGE", 1)
    line = b'%s - - [24/Nov/2026:09:04:19 +0000] "GET / HTTP/1.1" 200 7 "-" "curl" "-"'
    log = b"".join([WRAPS[envelope](line % each) + b"\n" for each in (b"192.0.2.1", address)])
    found, unwrapped = (kind(parser=PARSERS[DIFY]).parse(log) for kind in (envelope, PLAIN[envelope]))
    assert (summed([found]), found.examples) == (summed([unwrapped]), unwrapped.examples)


@pytest.mark.parametrize(
    "wrap",
    [
        partial(compose, prefix="x" * 250 + " " * 250 + "| "),
        partial(cri, time="2026-11-24T09:04:19." + "1" * 900 + "Z"),
    ],
)
def test_a_long_head_is_compared_with_no_byte_behind_the_block(
    wrap: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_LARGE", 1)
    line = b'192.0.2.1 - - [24/Nov/2026:09:04:19 +0000] "GET / HTTP/1.1" 200 7 "-" "curl" "-"\n'
    usual = compose if wrap.func is compose else cri  # type: ignore[attr-defined]
    found = {compose: Compose, cri: Cri}[usual](parser=PARSERS[DIFY]).parse(wrap(line) + usual(line))
    assert (found.lines, found.unparsed) == (2, {})


FRACTIONS = [".123456789"[:digits] for digits in (10, 9, 2, 0)]


@pytest.mark.parametrize(
    ("envelope", "wraps"),
    [
        (Docker, [partial(record, stream=stream, time=f"2026-11-24T09:04:19{fraction}Z") for stream in ("stdout", "stderr") for fraction in FRACTIONS]),
        (Cri, [partial(cri, stream=stream, time=f"2026-11-24T09:04:1{n}{fraction}Z") for stream in ("stdout", "stderr") for n, fraction in enumerate(FRACTIONS)]),
        (Cri, [partial(cri, time=f"2026-11-2{n}T09:04:19.123456789+01:00") for n in range(8)]),
        (Compose, [partial(compose, prefix=prefix) for prefix in ("nginx-1  | ", "nginx-12 | ", "shop-1   | ", "proxy-1  | ") * 2]),
    ],
)  # fmt: skip
def test_regular_lines_are_read_where_they_are_stored(
    envelope: type[Envelope], wraps: Sequence[Callable[[bytes], bytes]]
) -> None:
    """Also those with characters that Docker escapes, with any number of digits in a time, and of several containers."""
    line = b'192.0.2.1 - - [24/Nov/2026:09:04:19 +0000] "GET /v1/info?a=1&b=2 HTTP/1.1" 200 7 "-" "<a&b>" "-"'
    log = b"".join([wrap(line) + b"\n" for wrap in wraps]) * 1_000
    window, parser = log + (notice := wraps[0](b"notice") + b"\n"), PARSERS[DIFY]
    frame = envelope(parser=parser).frame
    batch, rest = parser.parse_stored(window + b"unfinished", len(window), frame, in_json=envelope.in_json)
    assert (batch.lines, batch.consumed, rest) == (8_000, len(log), notice)


def test_the_oldest_and_the_newest_time_of_a_date_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nobody sees that the clock was set back within a date."""
    monkeypatch.setattr(access, "_LARGE", 1)
    times = ["24/Nov/2026:23:04:19 +0000", "24/Nov/2026:05:04:19 +0000", "24/Nov/2026:06:04:19 +0000"]
    log = "".join([f'1.2.3.4 - - [{time}] "GET /v1/info HTTP/1.1" 200 2 "-" "-"\n' for time in times])
    found = PARSERS[COMBINED].parse(log.encode())
    assert (found.first_at, found.last_at) == (common_log(times[1].encode()), common_log(times[0].encode()))


def blocks_of(parser: Nginx, log: bytes, monkeypatch: pytest.MonkeyPatch) -> list[columns.Columns]:
    """Parse a large log, and return what was read as columns."""
    found: list[columns.Columns] = []
    read = columns.read
    monkeypatch.setattr(columns, "read", lambda *given: found.extend(read(*given)) or found)
    parser.parse(log)
    return found


@pytest.mark.parametrize(
    ("format", "sample"), [(DIFY, "nginx-dify"), (TIMED, "nginx-dify-timed"), (COMBINED, "nginx-combined")]
)
def test_regular_lines_are_read_as_columns(format: str, sample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would also hold for columns that leave all lines to the rows."""
    log = (ROOT / "samples" / f"{sample}.log").read_bytes() * 200
    parts = blocks_of(PARSERS[format], log, monkeypatch)
    assert 0 < sum(part.other_lines.count(b"\n") for part in parts) < log.count(b"\n") / 2


@pytest.mark.parametrize(
    "format", ["$status $msec", '"$request" $status $time_iso8601', "log_format a escape=json '\"$request\" $status';"]
)
def test_a_format_that_columns_cannot_read_is_read_as_rows(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert blocks_of(Nginx(format=format), b'"GET / HTTP/1.1" 200\n' * 50_000, monkeypatch) == []


@pytest.mark.parametrize("regular", [10, 5_000])
@pytest.mark.parametrize("empty", [1, 200_000])
def test_empty_lines_are_counted_as_ignored(regular: int, empty: int) -> None:
    """Few and many of them, in a window that is read by rows and in one that is read by columns."""
    line = b'192.0.2.1 - - [24/Nov/2026:09:04:19 +0000] "GET /v1/info HTTP/1.1" 200 7 "-" "curl" "-"\n'
    window = (line + b"\n" * empty) + line * (regular - 1) + b"\n" + b"half a line"
    batch = PARSERS[DIFY].parse(window)
    whole = len(window) - len(b"half a line")
    assert (batch.consumed, batch.lines, batch.ignored, batch.unparsed) == (whole, regular + empty + 1, empty + 1, {})
