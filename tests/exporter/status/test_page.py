"""The page as text: every value is escaped and complete, and numbers are readable."""

import os
import re
from base64 import b64encode
from decimal import Decimal
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from exporter.advice.alerts import Verdict
from exporter.metrics.quantile import approximate
from exporter.status.failures import FailureEntry, FailureRow, UnparsedLine
from exporter.status.history import Totals
from exporter.status.humanize import age, rate, share, size
from exporter.status.page import POLICY, SCRIPT, STYLE, page
from exporter.status.rows import BudgetRow, ModelRow, SourceRow
from exporter.status.traffic import DayRow, RouteRow, TrafficRow
from exporter.tail.position import Fingerprint
from tests.exporter.web.endpoint import Client, Service, listening, status


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.opened.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def full(text: str):
    charts = dict.fromkeys(("lines", "requests", "failed"), ((2.0, 0.0), (1.0, 1.0), (0.0, 2.0)))
    failure = FailureEntry(0.0, text, text, text, text, text, text, 7, (1, 2), False, Fingerprint())
    return status(
        version=text,
        sources=(
            SourceRow(
                text,
                (text,),
                False,
                1,
                5,
                {text: 2},
                Totals(9, 3, 4, 1),
                1.0,
                None,
                (UnparsedLine(0.0, text, text, text),),
                charts,
            ),
        ),
        missing={text: [text]},
        routes=(RouteRow(text, text, 4, 0.0, 1, 0.5, True),),
        traffic=(TrafficRow(text, 4, 0.0, 1, text, 0.5),),
        days=(DayRow(text, text, text, 4, 1, 0.5, 7, ((text, Decimal("0.25")),)),),
        models=(ModelRow(text, text, text, 7, ((text, Decimal("0.25")),)),),
        budgets=(BudgetRow(text, text, text, 1.0, 2.0, None, 0.0),),
        failures=(FailureRow(failure, text), FailureRow(failure, "")),
        verdicts=(Verdict(text, (), text), Verdict("Fine", (text,))),
        today=DayRow(text, text, text, 4, 1, 0.5, 7, ((text, Decimal("0.25")),)),
        reload_problems=(text,),
        ready=False,
    )


def tags(text: str) -> list[str]:
    parser = Tags()
    parser.feed(page(full(text)).decode())
    return parser.opened


def attributes(text: str) -> list[tuple[str, str | None]]:
    parser = Tags()
    parser.feed(page(full(text)).decode())
    return parser.attributes


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_no_text_becomes_a_tag(text: str) -> None:
    assert tags(text) == tags("x")


HOSTILE = ["</table><script>alert(1)</script>", "' onclick=x", '"><img src=x>', "&lt;b>", "{{ status }}", "{% raw %}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_hostile_text_becomes_a_tag(text: str) -> None:
    assert tags(text) == tags("x")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_shown_as_it_is(text: str) -> None:
    """Names of sources and apps, paths, routes, shapes, reasons: each is shown completely, as text or in an attribute."""
    parser = Tags()
    parser.feed(page(full(text)).decode())
    assert "".join(parser.text).count(text) >= 20
    labels = [value for name, value in parser.attributes if name == "aria-label"]
    assert f"Lines per second of {text}: now 2.0, highest 2.0, over 2 s" in labels
    assert {name for name, _ in parser.attributes} == {name for name, _ in attributes("x")}


def test_a_file_name_that_is_no_utf_8_is_shown() -> None:
    entry = structs.replace(full("x").failures[0].failure, file=os.fsdecode(b"/var/log/\xff\n.log"))
    text = page(status(failures=(FailureRow(entry, ""),))).decode()
    assert "no longer in <code>/var/log/\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.log</code>" in " ".join(
        text.split()
    )


@pytest.mark.parametrize("character", ["\u202e", "\u2067", "\u061c", "\x1b", "\x85", "\u2028"])
def test_no_name_turns_or_breaks_the_text_behind_it(character: str) -> None:
    text = page(full(f"a{character}b")).decode()
    assert character not in text
    assert text.count("a\N{REPLACEMENT CHARACTER}b") >= 20


def test_the_style_sheet_names_only_what_is_on_the_page() -> None:
    selectors = " ".join(
        re.findall(r"([^{}@;]+)\{", re.sub(r"/\*.*?\*/|\[.*?\]|@media[^{]*\{", "", STYLE, flags=re.DOTALL))
    )
    classes = set(re.findall(r"\.([a-z]+)", selectors))
    elements = set(re.findall(r"(?<![.:\w-])[a-z]\w*", re.sub(r":+[a-z-]+(\(.*?\))?", "", selectors)))
    used = {name for key, value in attributes("x") if key == "class" for name in str(value).split()}
    of_other_states = {"quiet", "long", "good"}
    assert {name for name in classes - used if f'"{name}"' not in SCRIPT} == of_other_states
    assert elements - {"button"} <= set(tags("x"))  # the script makes the buttons


def test_a_source_without_a_line_is_named_where_its_log_is_judged() -> None:
    row = structs.replace(full("nginx").sources[0], totals=Totals())
    plain = re.sub("<[^>]*>", "", page(status(sources=(row,))).decode())
    assert plain.count("No line was read yet from nginx.") == 2
    assert "none yet" in plain
    assert "No line was read yet" not in page(full("nginx")).decode()


def test_several_values_are_separated_by_commas() -> None:
    one = structs.replace(full("one").sources[0], totals=Totals(9), unparsed=(), charts={"lines": ()})
    two = structs.replace(one, name="two", errors={"gone": 1200, "denied": 2}, paths=("/a", "/b"))
    verdicts = (Verdict("Up", ("one", "two")), Verdict("Down", ("one", "two")))
    today = DayRow("2026-11-30", "UTC", "one", 0, 0, None, 5, (("EUR", Decimal(1)), ("USD", Decimal(2))))
    text = page(status(sources=(one, two), verdicts=verdicts, today=today)).decode()
    plain = " ".join(re.sub("<[^>]*>", "", text).split())
    for words in ("gone (1,200), denied (2)", "one, two: Up, Down", "1.00 EUR, 2.00 USD", "collecting"):
        assert words in plain, words
    assert "/a<br>/b" in text


def test_the_page_of_an_exporter_that_has_just_started() -> None:
    text = page(status()).decode()
    for words in ("No source has reported a request yet", "None since the exporter started", "Cost today"):
        assert words in text


def test_the_policy_names_the_script_and_the_style_of_the_page_by_their_digests() -> None:
    text = page(full("</script><script>x")).decode()
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert f"{tag}-src 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}';" in POLICY
    assert not re.search(r"\bon[a-z]+=|javascript:|\bstyle=", text)
    for maker in ("innerHTML", "outerHTML", "insertAdjacentHTML", "DOMParser", "document.write", "eval(", "Function("):
        assert maker not in SCRIPT, maker
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in POLICY


@pytest.mark.parametrize(("query", "current"), [("", "1 hour"), ("?range=24h", "24 hours"), ("?range=7d", "1 hour")])
def test_the_range_of_the_charts_is_chosen_by_a_link(query: str, current: str) -> None:
    with listening() as listener:
        _, headers, body = Client(listener).get("/" + query)
    assert f'aria-current="true">{current}</a>' in body.decode()
    assert headers["content-security-policy"] == POLICY


def test_reload_is_refused_for_pages_of_other_sites() -> None:
    service = Service()
    with listening(service) as listener:
        client = Client(listener)
        post = b"POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n%s\r\n"
        assert client.send(post % b"").startswith(b"HTTP/1.1 200")
        assert client.send(post % b"Origin: http://A\r\nSec-Fetch-Site: same-origin\r\n").startswith(b"HTTP/1.1 200")
        for header in (b"Sec-Fetch-Site: cross-site", b"Origin: http://b", b"Origin: null", b"Origin: http://a.b"):
            assert client.send(post % (header + b"\r\n")).startswith(b"HTTP/1.1 403")
        assert client.get("/-/reload")[0] == 405
        service.problems = ("exporter.toml: is wrong",)
        refused = client.send(post % b"")
        assert refused.startswith(b"HTTP/1.1 500")
        assert refused.endswith(b"\r\n\r\nThe new configuration is refused.\nexporter.toml: is wrong\n")
    assert service.reloads == 3


def test_numbers_are_readable() -> None:
    assert [age(s) for s in (-5, 0, 59, 61, 3600, 7260, 90000)] == [
        "0 s", "0 s", "59 s", "1 min 1 s", "1 h", "2 h 1 min", "1 d 1 h",
    ]  # fmt: skip
    assert [size(n) for n in (0, 1023, 1024, 20 << 20, 3 << 40)] == ["0 B", "1023 B", "1.0 KiB", "20 MiB", "3072 GiB"]
    assert [rate(n) for n in (0, 0.004, 0.5, 12.34, 1234.5)] == ["0.0", "0.004", "0.5", "12.3", "1,234"]
    assert [share(*n) for n in ((0, 0), (1, 10000), (1, 200), (1, 3), (31, 2))] == [
        "0 %", "< 0.1 %", "0.5 %", "33 %", "1,550 %",
    ]  # fmt: skip
    assert [approximate(n) for n in (0, 0.00020751, 0.0123, 0.9996, 12.34, 1234.5)] == [
        "≈ 0 ms", "≈ 0.208 ms", "≈ 12.3 ms", "≈ 1.00 s", "≈ 12.3 s", "≈ 1,234 s",
    ]  # fmt: skip
