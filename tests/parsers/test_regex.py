"""Patterns of users: the records of their groups, patterns that are refused, and slow patterns."""

import subprocess
import sys
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.batch import Batch, DroppedValue, FirstToken, Record, Request, Usage
from parsers.regex import Regex
from tests.parsers.laws import check_every_cut, check_laws

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
AT = 1_795_424_011_404_000_000
APP = "770e8400-1f2d-4c3b-9a4e-0123456789ab"


def records(parser: Regex, line: str) -> list[Record]:
    batch = parser.parse(line.encode() + b"\n")
    assert (batch.lines, batch.observed) == (1, 1), batch
    return list(batch.records)


@pytest.mark.parametrize(
    ("pattern", "line", "found"),
    [
        (
            r"(?P<method>\S+) (?P<path>\S+) (?P<status_code>\S+) (?P<duration>\S+) (?P<time_to_first_byte>\S+) (?P<bytes>\S+)",
            "POST /v1/chat-messages?user=CANARY 504 1.5 0.25 93",
            [Request("POST", "/v1/chat-messages", "504", "timeout", 1, 93, (1500 * MILLISECOND,), (250 * MILLISECOND,))],
        ),
        (
            r"(?P<method>\S+) (?P<path>\S+) (?P<status_code>\S+) (?P<duration>\S+) (?P<bytes>\S+)",
            "CANARY /CANARY 999 -1 1e9",
            [Request("other", "other", "other"), DroppedValue("bytes", 1, "1e9")],
        ),
        (r"(?P<path>\S+)( (?P<status_code>\d+))?", "/v1/info", [Request("unknown", "/v1/info", "unknown")]),
        (r"(?P<status_code>\d+)", "x 200 y", [Request("unknown", "unknown", "200")]),
        *(
            (r"(?P<method>\S+) (?P<path>\S+) (?P<status_code>\S+)", f"{none} {none} {none}", [Request("unknown", "unknown", "unknown")])
            for none in ("-", "null")
        ),
        *(
            (r"(?P<status_code>\S+) (?P<bytes>\S+)", f"{none} 0", [Request("unknown", "unknown", "unknown", response_bytes=0)])
            for none in ("-1", "0", "-", "null")
        ),
        (
            r"(?P<model>\S+) (?P<provider>\S+) (?P<app_id>\S+) (?P<input_tokens>\S+) (?P<output_tokens>\S+) (?P<cost>\S+) (?P<currency>\S+)",
            f"gpt-4.1 openai {APP} 12 34 0.0012890 USD",
            [Usage(APP, "openai", "gpt-4.1", 12, 34, None, Decimal("0.001289"), "USD", is_call=True)],
        ),
        (
            r"(?P<total_tokens>\S+) (?P<cost>\S+) (?P<currency>\S+)",
            "46 -0.5 CANARY",
            [Usage(unsplit_tokens=46, currency="unknown", is_call=True), DroppedValue("price", 1, "-0.5")],
        ),
        (
            r"(?P<input_tokens>\S+) (?P<output_tokens>\S+) (?P<total_tokens>\S+)",
            "12 34 60",
            [Usage(input_tokens=12, output_tokens=34, unsplit_tokens=14, is_call=True)],
        ),
        (r"(?P<total_tokens>\S+)", "-46", [DroppedValue("tokens", 1, "-46")]),
        (r"(?P<total_tokens>\S+)", "9999999999999", [DroppedValue("tokens", 1, "9999999999999")]),
        (r"(?P<total_tokens>\S+)", "٤٦", [DroppedValue("tokens", 1, "xx")]),
        (
            r"(?P<time_to_first_token>\S+) (?P<model>\S+)",
            "0.31 gpt-4.1",
            [FirstToken("unknown", "gpt-4.1", 310 * MILLISECOND)],
        ),
        (r"(?P<time_to_first_token>\S+)", "NaN", [DroppedValue("first_token", 1, "NaN")]),
    ],
)  # fmt: skip
def test_groups_become_records(pattern: str, line: str, found: list[Record]) -> None:
    assert records(Regex(pattern=pattern), line) == found


@pytest.mark.parametrize(
    ("unit", "nanoseconds"), [("s", 250 * SECOND), ("ms", 250 * MILLISECOND), ("us", 250_000), ("ns", 250)]
)
def test_the_unit_of_durations(unit: str, nanoseconds: int) -> None:
    (request,) = records(Regex(pattern=r"(?P<duration>\d+)", duration_unit=unit), "250")
    assert request.durations == (nanoseconds,)


@pytest.mark.parametrize(
    ("options", "text", "at"),
    [
        ({}, "2026-11-23T08:53:31.404Z", AT),
        ({}, "2026-11-23 16:53:31,404+08:00", AT),
        ({"timezone": "Asia/Shanghai"}, "2026-11-23 16:53:31.404", AT),
        ({"time_format": "%d/%b/%Y %H:%M:%S.%f"}, "23/Nov/2026 08:53:31.404", AT),
        ({"time_format": "%d.%m.%Y %H:%M:%S.%f %z"}, "23.11.2026 09:53:31.404 +0100", AT),
        ({}, "yesterday", None),
        ({"time_format": "%Y"}, "yesterday", None),
    ],
)
def test_the_time_of_a_line(options: dict[str, str], text: str, at: int | None) -> None:
    parser = Regex(pattern=r"(?P<time>.*) (?P<status_code>\d+)$", **options)
    assert parser.parse(f"{text} 200\n".encode()).last_at == at


def test_the_routes_of_a_deployment() -> None:
    parser = Regex(pattern=r"(?P<path>\S+)", routes=("/gateway/{tenant}/chat",))
    assert records(parser, "/gateway/acme/chat?x")[0] == Request("unknown", "/gateway/{tenant}/chat", "unknown")


def test_a_line_that_does_not_match_is_unparsed() -> None:
    batch = Regex(pattern=r"^(?P<status_code>\d{3})$").parse(b"x\n\xff\xfe\n\n200\n")
    assert (batch.observed, batch.ignored, batch.unparsed) == (1, 1, {"format": 2})


@pytest.mark.parametrize(
    ("pattern", "line", "counts"),
    [
        (r"^GET (?P<status_code>\d+)|^\[notice\]", "[notice] start", (0, 1)),
        (r"AUDIT (?P<status_code>\d+)|^", "any other line", (0, 1)),
        (r"^(?P<path>\S*) (?P<status_code>\d*)$", " ", (1, 0)),  # empty groups: the line is about a request
        (r"^(?P<status_code>\d+)|^(?P<time>\S+) start", "- start", (1, 0)),
    ],
)
def test_a_line_that_matches_without_a_group_is_ignored(pattern: str, line: str, counts: tuple[int, int]) -> None:
    batch = Regex(pattern=pattern).parse(line.encode() + b"\n")
    assert (batch.observed, batch.ignored) == counts
    assert batch.unparsed == {}


def test_a_slow_line_is_unparsed() -> None:
    parser = Regex(pattern=r"^(a+)+(?P<status_code>\d{3})$", timeout=0.05)
    slow = b"a" * 5000 + b"!"
    begun = time.monotonic()
    batch = parser.parse(slow + b"\naaa200\n" + slow + b"\n")
    assert (batch.observed, batch.unparsed, batch.examples) == (1, {"timeout": 2}, {"timeout": b"a" * 200})
    assert parser.matched_length(slow) == 0
    assert time.monotonic() - begun < 10


def test_a_line_that_needs_all_memory_is_unparsed() -> None:
    code = (
        "import resource; from parsers.regex import Regex; parser = Regex(pattern='(?P<status_code>(?R)|a)', timeout=10); "
        "resource.setrlimit(resource.RLIMIT_AS, (400 << 20,) * 2); print(parser.parse(b'a\\n').unparsed)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == "{'timeout': 1}\n", result.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pattern": "("}, "pattern: does not compile: missing ) at position 1"),
        ({"pattern": "(" * 3000}, "pattern: does not compile: its groups are nested too deeply"),
        (
            {"pattern": r"(?P<code>\d)"},
            'pattern: unknown group "code", expected one of app_id, bytes, cost, currency, ',
        ),
        ({"pattern": r"(?P<status>\d)"}, 'pattern: unknown group "status", did you mean "status_code"?'),
        ({"pattern": r"\d"}, "pattern: found no named group to count, expected one such as (?P<status_code>…)"),
        (
            {"pattern": r"(?P<time>.)"},
            "pattern: found no named group to count, expected one such as (?P<status_code>…)",
        ),
        ({"timeout": 0}, "timeout must be above 0 and at most 10 seconds, found 0"),
        ({"timeout": 11}, "timeout must be above 0 and at most 10 seconds, found 11"),
        (
            {"timezone": "Mars"},
            "timezone: unknown time zone 'Mars', expected a name such as UTC or Asia/Shanghai",
        ),
        ({"time_format": "%Q"}, "time_format: 'Q' is a bad directive in format '%Q'"),
        ({"time_format": "%Y %"}, "time_format: stray %"),
        ({"time_format": "%Y %Y"}, "time_format: '%Y %Y' contains the same directive twice"),
    ],
)
def test_a_bad_option_is_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Regex(**{"pattern": r"(?P<status_code>\d)", **options})
    assert str(refused.value).startswith(sentence)


def test_the_matched_length_of_a_line() -> None:
    parser = Regex(pattern=r"^(?P<method>[A-Z]+) (?P<path>/\S*) (?P<status_code>\d{3})$")
    assert parser.matched_length(b"GET /v1/info abc") == len("GET /v1/info ")
    assert parser.matched_length("GET /\u00e9 2x".encode()) == len("GET /\u00e9 2".encode())
    assert parser.matched_length(b"GET /v1") == 7
    assert parser.matched_length(b"!") == parser.matched_length(b"") == 0


TIMED = r"^(?P<time>\S+) (?P<duration>\S+) (?P<bytes>\S+) (?P<total_tokens>\S+) (?P<cost>\S+) (?P<status_code>\S+)$"


@pytest.mark.parametrize("time_format", ["", "epoch", "%Y-%m-%d"])
def test_the_laws_hold_where_values_are_not_understood(time_format: str) -> None:
    log = (
        b"1795939201.327 1.5 5 12 0.5 200\n12:00 1.5s 5kB x $1 OK\n- - - - - -\n2026-11-29 -1 1e9 -1 NaN -1\nx\n"
        b"2026-13-45 \xff 5 12 0.5 200\n1795939201327 .5 5 12 0.5"
    )
    parser = Regex(pattern=TIMED, time_format=time_format)
    check_laws(parser, log, [40, 41, 90])
    check_every_cut(parser, log)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1.204113", 1_204_113_000),
        ("8.1123e-05", 81_123),
        ("1E-3", 1_000_000),
        ("+1.5", 1_500_000_000),
        (".5", 500_000_000),
        ("5.", 5_000_000_000),
        ("0", 0),
        ("1_000", None),
        ("0x10", None),
        ("١", None),
        ("1,5", None),
        ("-0.5", None),
        ("1e400", None),
        ("10000001", None),
        ("9" * 400, None),
        ("inf", None),
        (".", None),
        ("e5", None),
    ],
)
def test_a_duration_is_a_number_of_ascii_digits(text: str, nanoseconds: int | None) -> None:
    first, *dropped = records(Regex(pattern=r"^(?P<duration>\S+)$"), text)
    assert isinstance(first, Request)
    assert first.durations == (() if nanoseconds is None else (nanoseconds,))
    assert [each.field for each in dropped] == ([] if nanoseconds is not None else ["duration"])


@given(value=st.integers(0, 10**15), unit=st.sampled_from(["s", "ms", "us", "ns"]))
def test_a_whole_number_in_any_unit(value: int, unit: str) -> None:
    size = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    first, *dropped = records(Regex(pattern=r"^(?P<duration>\S+)$", duration_unit=unit), str(value))
    assert isinstance(first, Request)
    if value * size <= 10**16:
        assert first.durations == (value * size,)
    assert bool(first.durations) != bool(dropped)


def test_a_pattern_without_a_path_is_named() -> None:
    (advice,) = Regex(pattern=r"(?P<status_code>\d{3}) (?P<duration>[\d.]+)").advice(Batch())
    assert "no group path" in advice.sentence
    assert Regex(pattern=r"(?P<path>\S+) (?P<status_code>\d{3})").advice(Batch()) == ()
    assert Regex(pattern=r"(?P<model>\S+) (?P<input_tokens>\d+)").advice(Batch()) == ()
