"""`dify-exporter report` equals an independent bookkeeping of the same logs."""

import csv
import gzip
import io
import json
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.config.settings import Config
from exporter.ledger.history import History, HistoryConfig
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.persistence.checkpoint import Checkpoint
from exporter.replay import inputs
from exporter.replay.detect import guesses
from exporter.replay.jobs import Job, Listener
from exporter.replay.workers import NO_WORKERS
from exporter.report import build, gather, text
from exporter.report.figures import Options
from exporter.report.query import By, Query
from parsers.batch import Batch, Request
from parsers.dify import Dify
from parsers.nginx import Nginx
from parsers.values.times import zone
from tests.exporter.report import months
from tests.exporter.report.bookkeeping import FAILURES, FIRST, WEEKS, Event, by_model, by_source, events, near, write
from tests.golden import ROOT


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formats are detected by the first 16 kB of each log: with more, this would take longest."""
    monkeypatch.setattr(inputs, "SAMPLE_BYTES", 16_384)


ZONES = ("UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu")
#: Hours are those of UTC where clocks differ by whole hours and never change.
SPANS = [
    (timezone, by)
    for timezone in ZONES
    for by in ("total", "month", "week", "day", "hour")
    if by != "hour" or timezone in ("America/New_York", "Asia/Kathmandu")
]


def run(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["report", *arguments], input=given)


def made(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--output", "json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], list[str]]:
    found = events()
    return found, write(tmp_path_factory.mktemp("logs"), found)


Reports = Callable[..., dict[str, Any]]
NGINX = tuple(guess for guess in guesses() if isinstance(guess.parser, Nginx))
DIFY = tuple(guess for guess in guesses() if isinstance(guess.parser, Dify))


@pytest.fixture(scope="module")
def report_of(weeks: tuple[list[Event], list[str]]) -> Reports:
    """Makes reports of the weeks. For each time zone the logs are read once by day and once by hour, which takes longest."""

    @cache
    def gathered(timezone: str, by: By) -> gather.Gathered:
        jobs = [Job(file, candidates=("access" in file and NGINX) or DIFY) for file in weeks[1]]
        return gather.from_logs(
            jobs, Query(zone(timezone), by), Config(), Listener(print), NO_WORKERS, lambda step: None
        )

    def report(timezone: str, by: By, group: tuple[str, ...] = ("source",)) -> dict[str, Any]:
        books = gathered(timezone, "hour" if by == "hour" else "day")
        data = build.build(Query(zone(timezone), by, group), books, Options(), time.time_ns())
        return dict(json.loads(text.as_json(data)))

    return report


@pytest.mark.system
@pytest.mark.parametrize(("timezone", "by"), SPANS)
def test_rows_by_source_are_those_of_the_bookkeeping(
    weeks: tuple[list[Event], list[str]], report_of: Reports, by: str, timezone: str
) -> None:
    report = report_of(timezone, by)
    expected = by_source(weeks[0], by, timezone)
    assert {(row.get("time", ""), row["source"]) for row in report["rows"]} == set(expected)
    for row in report["rows"]:
        wanted = dict(expected[row.get("time", ""), row["source"]])
        assert near(row.get("duration"), wanted.pop("durations"))
        assert {name: row[name] for name in wanted} == wanted
    assert [row.get("time") for row in report["rows"]] == sorted(
        (row.get("time") for row in report["rows"]),
        key=lambda time: time and datetime.fromisoformat(time) if by == "hour" else time or "",
    )
    assert (report["timezone"], report["by"], report["group"]) == (timezone, by, ["source"])
    assert report["totals"]["requests"] == sum(row["requests"] for row in expected.values())


@pytest.mark.parametrize(("timezone", "by"), [span for span in SPANS if span[1] in ("month", "day", "hour")])
def test_rows_by_app_and_model_are_those_of_the_bookkeeping(
    weeks: tuple[list[Event], list[str]], report_of: Reports, by: str, timezone: str
) -> None:
    report = report_of(timezone, by, ("app_id", "model"))
    expected = by_model(weeks[0], by, timezone)
    assert {
        (row["time"], row["app_id"], row["model"]) for row in report["rows"] if row["model"] in ("gpt-4.1", "qwen-max")
    } == set(expected)
    for row in report["rows"]:
        wanted = dict(expected[row["time"], row["app_id"], row["model"]])
        assert near(row.get("time_to_first_token"), wanted.pop("first_tokens"))
        assert {code: Decimal(cost) for code, cost in row["cost"].items()} == wanted.pop("cost")
        assert {name: row[name] for name in wanted} == wanted
        assert "requests" not in row
        assert "runs" not in row


def test_a_day_has_23_or_25_hours(weeks: tuple[list[Event], list[str]]) -> None:
    """Clocks go back in New York on 1 November 2026."""
    found, files = weeks
    report = made(
        *files,
        "--by",
        "hour",
        "--timezone",
        "America/New_York",
        "--since",
        "2026-11-01T04:00Z",
        "--until",
        "2026-11-02T05:00Z",
    )
    expected = by_source(found, "hour", "America/New_York")
    rows = {(row["time"], row["source"]): row["requests"] for row in report["rows"]}
    assert rows == {key: row["requests"] for key, row in expected.items() if key[0].startswith("2026-11-01")}
    assert (report["since"], report["until"]) == ("2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00")


@pytest.mark.parametrize(
    ("timezone", "day", "hours"),
    [
        ("America/New_York", "2026-11-01", 25),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Australia/Lord_Howe", "2026-04-05", 25),
    ],
)
def test_each_hour_of_such_a_day_is_a_row(tmp_path: Path, timezone: str, day: str, hours: int) -> None:
    """On Lord Howe Island, clocks go back by half an hour: one of the rows is half an hour long."""
    local = ZoneInfo(timezone)
    at = datetime.fromisoformat(day).replace(tzinfo=local).astimezone(UTC)
    end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=local).astimezone(UTC)
    times = [at + timedelta(minutes=10 * number) for number in range(int((end - at) / timedelta(minutes=10)))]
    (tmp_path / "a.log").write_bytes(log_of(*times))
    rows = made(str(tmp_path / "a.log"), "--by", "hour", "--timezone", timezone)["rows"]
    assert len(rows) == len({row["time"] for row in rows}) == hours
    assert sum(row["requests"] for row in rows) == len(times)
    [whole] = made(str(tmp_path / "a.log"), "--by", "day", "--timezone", timezone)["rows"]
    assert (whole["time"], whole["requests"]) == (day, len(times))


def test_lines_out_of_order_by_seconds_move_nothing(tmp_path: Path) -> None:
    """As several workers write them: only a line within seconds of midnight may count in the day beside."""
    chance = random.Random(3)
    midnight = datetime(2026, 11, 3, tzinfo=UTC)
    times = [midnight + timedelta(seconds=20 * number) for number in range(-2000, 2000) if number]
    written = sorted(times, key=lambda at: at + timedelta(seconds=chance.uniform(-9, 9)))
    (tmp_path / "a.log").write_bytes(log_of(*written))
    rows = made(str(tmp_path / "a.log"), "--by", "day")["rows"]
    assert {row["time"]: row["requests"] for row in rows} == {
        "2026-11-02": 2000, "2026-11-03": 1999,
    }  # fmt: skip


def test_a_month_is_compared_with_the_month_before(weeks: tuple[list[Event], list[str]]) -> None:
    found, files = weeks
    report = made(*files, "--month", "2026-11", "--by", "day", "--compare")
    expected = by_source(found, "day", "UTC")
    for row in report["rows"]:
        october = row["time"].replace("2026-11", "2026-10")
        for data, day in ((row, row["time"]), (row["previous"], october)):
            wanted = expected.get((day, row["source"]), {"requests": 0, "runs": 0})
            assert (data["requests"], data["runs"]) == (wanted["requests"], wanted["runs"])
    assert {row["time"] for row in report["rows"]} >= {"2026-11-29"}, "October has lines where November has none"


def test_a_week_is_compared_with_the_week_before(weeks: tuple[list[Event], list[str]]) -> None:
    found, files = weeks
    report = made(*files, "--since", "2026-10-19", "--until", "2026-10-26", "--compare")
    expected = by_source(found, "week", "UTC")
    [nginx] = [row for row in report["rows"] if row["source"] == "nginx"]
    assert nginx["requests"] == expected["2026-W43", "nginx"]["requests"]
    assert nginx["previous"]["requests"] == expected["2026-W42", "nginx"]["requests"]


def test_what_another_model_would_have_cost_and_one_currency(
    weeks: tuple[list[Event], list[str]], tmp_path: Path
) -> None:
    found, files = weeks
    (tmp_path / "x.toml").write_text(
        '[[price]]\nmodel = "mini"\nprovider = "openai"\ninput = "0.4"\noutput = "1.6"\ncurrency = "USD"\n'
        '[[price]]\nmodel = "mini"\nprovider = "openai"\nfrom = "2026-11-01"\ninput = "0.2"\noutput = "0.8"\ncurrency = "USD"\n'
        '[exchange]\nRMB = "0.14"\n[apps]\n'
        f'"{found[0]["app_id"]}" = {{ name = "Support bot", team = "care" }}\n'
    )  # fmt: skip
    config = ("--config", str(tmp_path / "x.toml"))
    report = made(*files, *config, "--by", "month", "--group", "model", "--what-if", "openai/mini", "--currency", "USD")
    for row in report["rows"]:
        rate = Decimal("0.4") if row["time"] == "2026-10" else Decimal("0.2")
        supposed = (rate * row["input_tokens"] + 4 * rate * row["output_tokens"]) / 1_000_000
        assert Decimal(row["what_if"]["openai/mini"]["USD"]) == supposed
        assert set(row["cost"]) == {"USD"}
    costs = by_model(found, "total", "UTC")
    whole = sum(row["cost"].get("USD", 0) + row["cost"].get("RMB", 0) * Decimal("0.14") for row in costs.values())
    assert Decimal(report["totals"]["cost"]["USD"]) == whole
    teams = made(*files, *config, "--group", "team,app")
    assert ("care", "Support bot") in {(row["team"], row["app"]) for row in teams["rows"]}
    assert {row["team"] for row in teams["rows"]} == {"care", "unknown"}


def test_what_if_uses_the_price_of_short_prompts_and_says_so(
    weeks: tuple[list[Event], list[str]], tmp_path: Path
) -> None:
    _, files = weeks
    price = '[[price]]\nmodel = "mini"\ninput = "1"\noutput = "1"\ncurrency = "USD"\n'
    (tmp_path / "x.toml").write_text(price + 'tiers = [{ above = 200000, input = "9", output = "9" }]\n')
    totals = made(*files, "--config", str(tmp_path / "x.toml"), "--what-if", "mini")
    tokens = totals["totals"]["input_tokens"] + totals["totals"]["output_tokens"]
    assert Decimal(totals["totals"]["what_if"]["mini"]["USD"]) == Decimal(tokens) / 1_000_000
    assert [each for each in totals["incomplete"] if "prompts of at most 200,000 tokens" in each]


def test_groups_leave_out_what_they_cannot_split(report_of: Reports) -> None:
    by_reason = report_of("UTC", "total", ("reason",))
    assert all(row.keys() == {"reason", "failed_requests"} for row in by_reason["rows"])
    assert {row["reason"] for row in by_reason["rows"]} == {"server_error", "timeout", "rate_limited", "client_closed"}
    kinds = report_of("UTC", "total", ("kind",))
    assert {row["kind"] for row in kinds["rows"]} == {"chat", "workflow", "task_failed"}
    assert {row["kind"]: row["errors"] for row in kinds["rows"] if row["errors"]}.keys() == {"task_failed"}
    assert report_of("UTC", "total", ("route", "model"))["rows"] == []
    classes = report_of("UTC", "total", ("status_class",))
    assert {row["status_class"] for row in classes["rows"]} == {"2xx", "4xx", "5xx"}


def failures(found: list[Event]) -> Counter[tuple[str, str, str]]:
    """The bookkeeping of why something failed."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for event in found:
        if event["kind"] in ("nginx", "proxy") and event["status"] in FAILURES:
            counts[event["source"], "failed_requests", FAILURES[event["status"]]] += 1
        if event["kind"] in ("message", "worker") and event["run_status"] == "failed":
            counts["dify", "failed_runs", "failed" if event["kind"] == "worker" else "error"] += 1
            counts["dify", "errors", "task_failed"] += event["kind"] == "worker"
    return counts


def test_why_something_failed_is_that_of_the_bookkeeping(weeks: tuple[list[Event], list[str]]) -> None:
    found, files = weeks
    report = made(*files, "--month", "2026-11", "--compare", "--group", "team")
    november = [event for event in found if event["at"].month == 11]
    for key, books in (("count", november), ("previous", [event for event in found if event["at"].month == 10])):
        counts = {(each["source"], each["figure"], each["reason"]): each[key] for each in report["failures"]}
        assert Counter(counts) == failures(books), "a reason of the other month has a row with 0"
    requests = sum(event["kind"] == "nginx" for event in november)
    for each in report["failures"]:
        if each["source"] == "nginx":
            assert each["share"] == pytest.approx(each["count"] / requests, abs=1e-6)
    [timeout] = [each for each in report["failures"] if (each["source"], each["reason"]) == ("nginx", "timeout")]
    change = f"{timeout['previous']} ({timeout['count'] / timeout['previous'] - 1:+.0%})"
    shown = f"{timeout['count']} ({timeout['share']:.{int(timeout['share'] < 0.0995)}%})"
    markdown = run(*files, "--month", "2026-11", "--compare", "--output", "markdown").stdout
    assert f"| nginx | requests | timeout | {shown} | {change} |" in markdown
    page = run(*files, "--month", "2026-11", "--compare", "--output", "html").stdout
    assert "Why they failed" in page
    assert "server errors (5xx)" in page


def test_csv_markdown_and_tables(weeks: tuple[list[Event], list[str]]) -> None:
    _, files = weeks
    rows = list(csv.DictReader(io.StringIO(run(*files, "--by", "week", "--group", "model", "--output", "csv").stdout)))
    assert {"time", "model", "cost_USD", "time_to_first_token_p95", "input_tokens"} <= rows[0].keys()
    by_source_rows = csv.DictReader(io.StringIO(run(*files, "--output", "csv").stdout))
    assert {"failed_requests", "server_errors", "failed_runs", "errors"} <= {*next(by_source_rows)}
    table = run(*files, "--by", "day", "--group", "app_id,model", "--compare", "--month", "2026-11").stdout
    assert max(map(len, table.splitlines())) <= 80
    assert "Tokens and cost" in table
    markdown = run(*files, "--output", "markdown").stdout
    assert markdown.startswith("# Dify report, 2026-10-05 to ")
    assert "| source | requests | failed | 5xx | p50 | p95 | p99 |" in markdown


def test_a_narrow_terminal_gets_rows_instead_of_columns() -> None:
    sample = str(ROOT / "samples/dify-worker-telemetry.log")
    report = made(sample, "--group", "app,model")
    narrow = text.show(report, 60)
    assert max(map(len, narrow.splitlines())) <= 60
    assert re.search(r"(?m)^[0-9a-f-]{36}  gpt-4\.1\n  input [\d,]+ +output [\d,]+", narrow)
    assert "│" in text.show(report, 160)


@pytest.mark.parametrize("output", ["table", "csv", "json", "markdown", "html"])
def test_a_span_without_events_says_which_times_there_are(output: str, tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(log_of(FIRST, FIRST + timedelta(days=1)))
    result = run(str(tmp_path / "x.log"), "--since", "2027-01-01", "--output", output)
    times = f"{FIRST:%Y-%m-%dT%H:%M:%SZ} to {FIRST + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    expected = f"nothing was counted in the span of this report; in the logs: events from {times}"
    assert expected in result.stderr.splitlines()
    config = history(tmp_path, FIRST, FIRST + timedelta(days=1))
    result = run("--config", config, "--month", "2020-01", "--output", output)
    days = f"{FIRST:%Y-%m-%d} to {FIRST + timedelta(days=1):%Y-%m-%d}"
    assert f"nothing was counted in the span of this report; the history has the days from {days}" in result.stderr


def test_the_page_is_whole_and_safe(tmp_path: Path) -> None:
    line = {"ts": "2026-11-23T08:53:00Z", "severity": "INFO", "caller": "telemetry_log.py:71", "message": "telemetry.span_detail", "attributes": {"dify.event.name": "dify.node.execution", "dify.app_id": "0f0e0000-0000-4000-8000-000000000001", "dify.node.type": "llm", "dify.node.status": "succeeded", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 5, "gen_ai.provider.name": "p", "gen_ai.request.model": "<script>alert(1)</script>"}}  # fmt: skip
    (tmp_path / "x.log").write_text(json.dumps(line) + "\n" + json.dumps(line | {"ts": "2026-11-24T08:53:00Z"}) + "\n")
    page = run(str(tmp_path / "x.log"), "--group", "model", "--by", "day", "--output", "html").stdout
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert page.count('<svg viewBox="0 0 720') == 1
    assert "http" not in page.replace("http-equiv", ""), "no network"


def log_of(*times: datetime) -> bytes:
    return b"".join(
        f'10.0.0.1 - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "GET /v1/info HTTP/1.1" 200 47 "-" "c" "-"\n'.encode()
        for at in times
    )


def test_what_is_not_whole_is_said(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    days = [now - timedelta(days=number) for number in (9, 8, 8, 3, 3, 0)]
    future, old = now + timedelta(days=40), datetime(1970, 1, 2, tzinfo=UTC)
    (tmp_path / "a.log").write_bytes(
        log_of(old, *days[:3], future, *days[3:]) + log_of(now).replace(b"/%s/" % now.strftime("%b").encode(), b"/xyz/")
    )
    report = made(str(tmp_path / "a.log"), "--by", "day")
    assert sum(row["requests"] for row in report["rows"]) == 7
    silent = ", ".join((now - timedelta(days=number)).date().isoformat() for number in (7, 6, 5, 4, 2, 1))
    assert report["incomplete"] == [
        f"{now.date().isoformat()}: the day is not over",
        f"{silent}: source nginx has no line, and it has lines before and after",
        "source nginx: 1 time was not understood: such a line counts with the line before it",
        "source nginx: 2 lines are in no row, because their time is implausible, or their day was already closed",
    ]


DAY_OF = datetime(2026, 5, 2, 10, tzinfo=UTC)
MINUTES = [DAY_OF + timedelta(minutes=number) for number in range(60)]
BEHIND = "source nginx: {} a time that is more than 16 hours before the times around it; counted with the line before"
IN_NO_ROW = "source nginx: {} in no row, because their time is implausible, or their day was already closed"


@pytest.mark.parametrize(
    ("times", "days", "sentences"),
    [
        (  # a clock that was not set yet
            [*MINUTES[:30], datetime(1970, 1, 1, tzinfo=UTC), *MINUTES[30:]],
            {"2026-05-02": 61},
            [BEHIND.format("1 line has")],
        ),
        (
            [*MINUTES[:20], DAY_OF - timedelta(days=3), *MINUTES[20:40], DAY_OF - timedelta(days=400), *MINUTES[40:]],
            {"2026-05-02": 62},
            [BEHIND.format("2 lines have")],
        ),
        (
            [*MINUTES[:30], datetime(2099, 1, 1, tzinfo=UTC), *MINUTES[30:]],
            {"2026-05-02": 60},
            [IN_NO_ROW.format("1 line is")],
        ),
        ([*MINUTES, DAY_OF + timedelta(days=365)] * 2, {"2026-05-02": 120}, [IN_NO_ROW.format("2 lines are")]),
        (  # a clock that jumps back: each line counts in its own day
            [*MINUTES, *(at - timedelta(days=1) for at in MINUTES)],
            {"2026-05-01": 60, "2026-05-02": 60},
            [],
        ),
        ([*MINUTES, *(at - timedelta(days=300) for at in MINUTES)], {"2025-07-06": 60, "2026-05-02": 60}, ["has no line"]),
    ],
    ids=["1970", "single-lines", "2099", "next-year", "a-day-back", "300-days-back"],
)  # fmt: skip
@pytest.mark.parametrize("by", ["day", "hour"])
def test_a_wrong_clock_is_named(
    tmp_path: Path, by: str, times: list[datetime], days: dict[str, int], sentences: list[str]
) -> None:
    (tmp_path / "a.log").write_bytes(log_of(*times))
    report = made(str(tmp_path / "a.log"), "--by", by)
    found = Counter[str]()
    for row in report["rows"]:
        found[row["time"][:10]] += row["requests"]
    assert found == days
    assert len(report["incomplete"]) == len(sentences)
    assert all(sentence in found for sentence, found in zip(sentences, report["incomplete"], strict=True))


def test_a_clock_that_jumps_back_counts_the_same_in_several_processes(tmp_path: Path) -> None:
    """Pieces are cut at other places than windows, and the jump is inside of both."""
    times = [(DAY_OF + timedelta(seconds=number // 100)) for number in range(30_000)]
    log = log_of(*times) + log_of(*(at - timedelta(days=2) for at in times))
    (tmp_path / "a.log").write_bytes(log * 2 + log[: len(log) // 3])
    (tmp_path / "b.log").write_bytes(log_of(*times))
    files = (str(tmp_path / "a.log"), str(tmp_path / "b.log"))
    assert made(*files, "--by", "day", "--processes", "2") == made(*files, "--by", "day", "--processes", "1")


@pytest.mark.parametrize(
    ("since", "sentence"),
    [
        ("2026-05-02T11", []),
        ("2026-05-02", ["2026-05-01 to 2026-05-02: the span before has no line, so its figures are 0"]),
    ],
)
def test_a_comparison_with_nothing_is_named(tmp_path: Path, since: str, sentence: list[str]) -> None:
    (tmp_path / "a.log").write_bytes(log_of(*MINUTES, *(at + timedelta(hours=1) for at in MINUTES)))
    until = "2026-05-02T12" if since.endswith("11") else "2026-05-03"
    report = made(str(tmp_path / "a.log"), "--since", since, "--until", until, "--by", "hour", "--compare")
    assert report["incomplete"] == sentence


@pytest.mark.parametrize("output", ["table", "markdown", "html"])
def test_a_span_without_a_line_says_so(tmp_path: Path, output: str) -> None:
    (tmp_path / "a.log").write_bytes(log_of(*MINUTES))
    result = run(str(tmp_path / "a.log"), "--month", "2020-01", "--output", output)
    assert result.exit_code == 0
    assert "Nothing was counted in this span." in result.stdout


def test_lines_that_are_not_understood_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(log_of(*MINUTES) + b"GET / HTTP/1.1 and no more\n" * 3)
    assert made(str(tmp_path / "a.log"))["incomplete"] == [
        "source nginx: 3 lines were not understood, so no row contains anything of it"
    ]


def test_lines_before_the_first_time_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"a banner\n\n" * 3 + log_of(FIRST, FIRST + timedelta(hours=1)))
    report = made(str(tmp_path / "a.log"), "--by", "day")
    assert [(row["time"], row["requests"]) for row in report["rows"]] == [("2026-10-05", 2)]
    assert report["incomplete"] == ["source nginx: 3 lines were not understood, so no row contains anything of it"]


def test_a_packed_log_that_is_cut_is_read_up_to_there(tmp_path: Path) -> None:
    times = [FIRST + timedelta(seconds=number * 7) for number in range(12_000)]
    packed = gzip.compress(log_of(*times))
    (tmp_path / "a.gz").write_bytes(packed[: len(packed) // 2])
    report = made(str(tmp_path / "a.gz"))
    assert 4000 < report["totals"]["requests"] < 8000
    sentence, half_line = report["incomplete"]
    assert sentence.startswith(
        f"{tmp_path / 'a.gz'}: is cut or damaged, and is read up to there: Compressed file ended"
    )
    assert half_line == "source nginx: 1 line was not understood, so no row contains anything of it"


def test_a_copy_counts_once(tmp_path: Path) -> None:
    """The files differ behind the sample by which their format is detected."""
    times = [FIRST + timedelta(seconds=number) for number in range(450)]
    (tmp_path / "a.log.1").write_bytes(log_of(*times))
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress(log_of(*times)))
    (tmp_path / "a.log").write_bytes(log_of(*times[:350]))
    (tmp_path / "b.log").write_bytes(log_of(*times[:349], FIRST + timedelta(hours=2)))
    assert (tmp_path / "a.log").stat().st_size > inputs.SAMPLE_BYTES
    report = made(str(tmp_path / "a.log*"))
    assert report["totals"]["requests"] == 450
    assert len(report["incomplete"]) == 2
    assert made(str(tmp_path / "*.log"))["totals"]["requests"] == 700


def test_standard_input() -> None:
    result = run("-", "--output", "json", given=log_of(FIRST, FIRST))
    assert json.loads(result.stdout)["totals"]["requests"] == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("x", "--timezone", "Mars/Olympus"), "--timezone: "),
        (("x", "--group", "modle"), '--group: unknown label "modle", did you mean "model"?'),
        (("x", "--month", "2026-13"), '--month: expected a month such as 2026-11, found "2026-13"'),
        (("x", "--month", "9999-12"), '--month: expected a month such as 2026-11, found "9999-12"'),
        (("x", "--since", "999999w"), '--since: expected a time in the years 1971 to 2260, found "999999w"'),
        (("x", "--until", "0001-01-01"), '--until: expected a time in the years 1971 to 2260, found "0001-01-01"'),
        (("x", "--month", "1971-01", "--compare"), "--compare: the span before would begin before the year 1971"),
        (
            ("x", "--since", "1971-02-01", "--until", "2260-01-01", "--compare"),
            "--compare: the span before would begin",
        ),
        (
            ("x", "--month", "2026-11", "--since", "1d"),
            "--month cannot be combined with --since or --until: leave them out",
        ),
        (("x", "--compare"), "--compare needs the beginning of the span: add --month or --since"),
        (("x", "--since", "1d", "--until", "2d"), "--since must be before --until: this span of time is empty"),
        (("x", "--currency", "gold"), '--currency: expected a currency code such as "USD" or "RMB", found \'gold\''),
        (("none.log",), "none.log: cannot be read: No such file or directory"),
    ],
)
def test_wrong_use_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"dify-exporter: {sentence}")
    assert len(result.stderr.splitlines()) == 1


def test_the_weeks_of_the_bookkeeping(weeks: tuple[list[Event], list[str]], report_of: Reports, tmp_path: Path) -> None:
    """By its own file names, and by a glob, it is the same."""
    _, files = weeks
    for file in files:
        shutil.copy(file, tmp_path)
    assert made(f"{tmp_path}/*")["totals"] == report_of("UTC", "total")["totals"]
    assert WEEKS * 7 - 1 <= len({row["time"] for row in report_of("UTC", "day")["rows"]}) <= WEEKS * 7


def history(folder: Path, *times: datetime) -> str:
    """Store a history of requests, and return the path of a configuration that names it."""
    ledger, now = Ledger(Limits(), lambda: 1e10), int(times[-1].timestamp())
    ledger.keep_history(History(HistoryConfig(), Limits(), lambda: now))
    for at in times:
        ledger.enter("nginx", Batch(1, 1, records=(Request("GET", "/v1/info", "200"),)), int(at.timestamp()) * 10**9)
    checkpoint = Checkpoint(folder / "state")
    checkpoint.save(ledger.changes())
    checkpoint.close()
    (folder / "x.toml").write_text('[exporter]\nstate = "state"\n')
    return str(folder / "x.toml")


def test_the_history_is_shown_by_whole_days(tmp_path: Path) -> None:
    config = history(tmp_path, *(FIRST + timedelta(days=number, hours=7) for number in (0, 0, 1, 3)))
    report = made("--config", config, "--by", "day", "--since", "2026-10-05T08:00Z", "--until", "2026-10-08T07:00Z")
    assert [(row["time"], row["requests"]) for row in report["rows"]] == [
        ("2026-10-05", 2),
        ("2026-10-06", 1),
        ("2026-10-08", 1),
    ]
    assert (report["since"], report["until"]) == ("2026-10-05T00:00:00+00:00", "2026-10-09T00:00:00+00:00")
    assert report["incomplete"] == [
        "2026-10-05: the history of source nginx begins on this day, which may not be whole",
        "2026-10-07: source nginx has no line, and it has lines before and after",
    ]
    abroad = made("--config", config, "--timezone", "Asia/Shanghai")
    assert abroad["incomplete"][-1] == (
        "2026-10-05 to 2026-10-08: the days of source nginx begin at midnight in UTC, not in Asia/Shanghai"
    )


def test_a_history_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    config = history(tmp_path, FIRST)
    hours = run("--config", config, "--by", "hour")
    assert (
        hours.stderr == "dify-exporter: --by hour: the history has whole days only; name the log FILES to see hours\n"
    )
    (tmp_path / "none.toml").write_text('[exporter]\nstate = "nowhere"\n')
    assert "there is no history yet" in run("--config", str(tmp_path / "none.toml")).stderr
    (tmp_path / "state" / "history.db").write_bytes(b"no database" * 99)
    report = made("--config", config)
    assert report["totals"]["requests"] == 1
    assert report["incomplete"][0] == f"{tmp_path / 'state' / 'history.db'} cannot be used: file is not a database"
    for state in (tmp_path / "state").glob("state.[01]"):
        state.write_bytes(b"dify-exporter state 4 7\n")
        assert f"{state} cannot be used: its version is 4, this exporter reads 5\n" in run("--config", config).stderr


def test_the_bookkeeping_of_months_finds_what_is_equal_and_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m tests.exporter.report.months` compares months; here it is a week."""
    monkeypatch.setattr(months, "WEEKS", 1)
    monkeypatch.setattr(months, "SILENT", 3)
    files, books, size = months.write(tmp_path, 0.2)
    assert 150_000 < size < 250_000
    assert months.compare(files, books, ("day",), "Asia/Kathmandu") > 40
    row = next(row for row in books.counts.values() if row["requests"])
    row["requests"] += 1
    with pytest.raises(months.DeviationError, match="requests is"):
        months.compare(files, books, ("day",), "UTC")
