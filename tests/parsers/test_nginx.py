"""The nginx parser as a whole: its options, its advice, its samples and the laws."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.advice import Advice
from parsers.batch import Batch, Request
from parsers.nginx import Nginx
from tests.golden import ROOT
from tests.parsers.laws import check_laws
from tests.parsers.test_nginx_access import HEAD, INGRESS, JSON, request


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"format": "diffy"},
            'format: unknown name "diffy", did you mean "dify"? If not, copy the log_format directive from nginx.conf',
        ),
        ({"format": "$request_time"}, "format: expected $status or $request among its variables"),
        ({"format": "$request_method $remote_addr"}, "format: expected $status or $request among its variables"),
        (
            {"format": "$status$request_time"},
            "format: found status and request_time with no text between them",
        ),
        ({"format": "${uri}${args} $x"}, "format: found uri and args with no text between them"),
        (
            {"timezone": "Mars"},
            'timezone: unknown time zone "Mars", expected a name such as UTC or Asia/Shanghai',
        ),
        (
            {"timezone": "America/Sao_Paolo"},
            'timezone: unknown time zone "America/Sao_Paolo", did you mean "America/Sao_Paulo"?',
        ),
    ],
)
def test_a_bad_option_is_refused(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Nginx(**options)
    assert str(refused.value) == sentence


def test_neighbouring_variables_that_are_not_needed_are_accepted() -> None:
    assert request(b"https://host/x /v1/info 200", "$scheme://$host$args $request_uri $status").route == "/v1/info"


def test_advice_names_what_a_format_lacks() -> None:
    assert [each.sentence.split(":")[0] for each in Nginx().advice(Batch())] == [
        "this nginx format has no $request_time",
        "this nginx format has no $upstream_header_time",
    ]
    assert Nginx(format="dify-timed").advice(Batch()) == Nginx(format="error").advice(Batch()) == ()
    assert Nginx(format="$request_uri $request_time $upstream_header_time $msec").advice(Batch()) == (
        Advice("this nginx format has no $status: every request has status unknown; add $status"),
    )
    forgeable = "log_format n escape=none '$msec $request_uri $status $request_time $upstream_header_time';"
    assert Nginx(format=forgeable).advice(Batch()) == (
        Advice(
            "this nginx format has escape=none: a client can write quotes and line breaks into a line and forge its "
            "numbers; use escape=json or leave escape out"
        ),
    )


@pytest.mark.parametrize(
    ("line", "broken_at"),
    [
        (HEAD + b'"GET / HTTP/1.1" 200 5 "-" "-" "-"', None),
        (HEAD + b'"GET / HTTP/1.1" abc', b"abc"),
        (HEAD + b'"GET / HTTP/1.1" 200 5 "-" no', b'" no'),
        (b"127.0.0.1 - - [24/Nov/2026 11:11:42] ", b"- [24/"),
        (b"", None),
    ],
)
def test_the_matched_length_of_a_line(line: bytes, broken_at: bytes | None) -> None:
    assert Nginx().matched_length(line) == (len(line) if broken_at is None else line.index(broken_at))


def test_the_guesses_are_the_names_with_the_most_specific_first() -> None:
    """The error log is a format of its own, although an access log may contain its lines too."""
    assert [each["format"] for each in Nginx.guesses] == ["error", "dify-timed", "dify", "combined", "ingress-nginx"]


SAMPLES = {"dify": "dify", "dify-timed": "dify-timed", "combined": "combined", "json": JSON}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_observed_completely_only_by_its_own_format(name: str) -> None:
    log = (ROOT / f"samples/nginx-{name}.log").read_bytes()
    for other, format in SAMPLES.items():
        batch = Nginx(format=format).parse(log)
        assert batch.observed == (batch.lines if other == name else 0)


def test_the_four_samples_contain_the_same_requests() -> None:
    """One nginx wrote all of them at the same time, so the values that they contain must agree."""
    found = {}
    for name, format in SAMPLES.items():
        records = Nginx(format=format).parse((ROOT / f"samples/nginx-{name}.log").read_bytes()).records
        found[name] = {
            (r.method, r.route, r.status_code, r.count, r.response_bytes) for r in records if isinstance(r, Request)
        }
    assert found["dify"] == found["dify-timed"] == found["combined"] == found["json"]


LINES = st.sampled_from(
    [line for name in SAMPLES for line in (ROOT / f"samples/nginx-{name}.log").read_bytes().splitlines(keepends=True)]
)
TEXT = st.binary(max_size=40) | st.text(alphabet='"\\ |[],:-{}\r\n0a', max_size=40).map(str.encode)
FORMATS = [*SAMPLES.values(), INGRESS, "$request $status", 'log_format n escape=none \'"$request" $status "$uri"\';']


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=settings.default.max_examples // 2)
@given(log=st.lists(LINES | TEXT, max_size=8).map(b"".join), cuts=st.lists(st.integers(0, 2000), max_size=4))
def test_the_laws_hold(format: str, log: bytes, cuts: list[int]) -> None:
    check_laws(Nginx(format=format), log, cuts)


@settings(max_examples=2 * settings.default.max_examples)
@given(line=LINES, at=st.integers(0, 400), put=TEXT.filter(lambda text: b"\n" not in text))
def test_text_of_a_client_never_becomes_a_label(line: bytes, at: int, put: bytes) -> None:
    for format in FORMATS:
        for record in Nginx(format=format).parse(line[:at] + b"CANARY" + put + line[at:]).records:
            assert "CANARY" not in repr(record)
