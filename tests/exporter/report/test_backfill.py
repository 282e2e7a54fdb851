"""`dify-exporter backfill` writes the metrics that `serve` would have shown, with their times."""

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main
from tests.exporter.report.bookkeeping import FAILURES, Event, events, write

SERIES = re.compile(r"\w+(?:\{.*\})?")
Series = dict[str, list[tuple[int, float]]]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["backfill", *arguments])


def series_of(text: str) -> Series:
    """The samples of each series; they are in the order of time."""
    lines = text.splitlines()
    assert lines[-1] == "# EOF"
    found: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in lines[:-1]:
        if not line.startswith("#"):
            name, value, at = line.rsplit(" ", 2)
            found[name].append((int(at), float(value)))
    assert all(SERIES.fullmatch(name) for name in found)
    return found


def value_at(samples: list[tuple[int, float]], at: datetime) -> float:
    """What an instant query sees: the newest sample of the last five minutes; 0 before the series began."""
    now = at.timestamp()
    if now < samples[0][0]:
        return 0.0
    newest = max((sample for sample in samples if sample[0] <= now), default=samples[0])
    assert now - newest[0] < 300, "stale"
    return newest[1]


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], list[str]]:
    """Some hours around one midnight are enough, because each series has a sample every four minutes."""
    begin, end = datetime(2026, 10, 6, 16, tzinfo=UTC), datetime(2026, 10, 7, 6, tzinfo=UTC)
    found = [event for event in events(per_day=80) if begin <= event["at"] < end]
    return found, write(tmp_path_factory.mktemp("logs"), found)


@pytest.mark.parametrize("step", [60, 300, 3600])
def test_the_counters_of_any_moment_are_those_of_the_bookkeeping(
    days: tuple[list[Event], list[str]], tmp_path: Path, step: int
) -> None:
    found, files = days
    result = run(*files, "--step", str(step), "--output", str(tmp_path / "x.om"), "--label", "job=a")
    assert result.exit_code == 0, result.output
    series = series_of((tmp_path / "x.om").read_text())
    for samples in series.values():
        times = [at for at, _ in samples]
        assert times == sorted(set(times)), "each time once, in order"
        assert all(later - earlier <= 240 for earlier, later in pairwise(times))
    for name, samples in series.items():
        if re.match(r"\w+_(total|count|bucket|sum)\{", name):
            values = [value for _, value in samples]
            assert values == sorted(values), "no reset"
            assert values[0] == 0, "a series begins with 0"
        assert 'job="a"' in name
    for moment in (datetime(2026, 10, 6, 20, tzinfo=UTC), datetime(2026, 10, 7, tzinfo=UTC)):
        before = [event for event in found if event["at"] < moment]
        requests = [
            samples for name, samples in series.items() if name.startswith('dify_requests_total{source="nginx"')
        ]
        assert sum(value_at(samples, moment) for samples in requests) == sum(e["kind"] == "nginx" for e in before)
        failed = [
            samples for name, samples in series.items() if name.startswith('dify_failed_requests_total{source="dify"')
        ]
        assert sum(value_at(samples, moment) for samples in failed) == sum(
            e["kind"] == "proxy" and e["status"] in FAILURES for e in before
        )
        counts = [
            samples
            for name, samples in series.items()
            if name.startswith('dify_request_duration_seconds_count{source="nginx"')
        ]
        assert sum(value_at(samples, moment) for samples in counts) == sum(e["kind"] == "nginx" for e in before)


def test_files_are_read_in_the_order_of_time_whatever_their_order(
    days: tuple[list[Event], list[str]], tmp_path: Path
) -> None:
    _, files = days
    for name, given in (("one", files), ("two", files[::-1])):
        assert run(*given, "--step", "600", "--output", str(tmp_path / name)).exit_code == 0
    assert series_of((tmp_path / "one").read_text()) == series_of((tmp_path / "two").read_text())


def test_a_file_belongs_to_the_source_that_tails_its_log(days: tuple[list[Event], list[str]], tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    (tmp_path / "x.toml").write_text(
        f'[[source]]\nname = "edge"\npaths = ["{log}"]\nparser = "nginx"\nformat = "dify-timed"\n'
    )
    for name in ("access.log", "access.log.1"):
        (tmp_path / name).write_text(
            '10.0.0.1 - - [23/Nov/2026:08:00:00 +0000] "GET /v1/info HTTP/1.1" 200 47 "-" "c" "-" '
            f'rt=0.1{len(name)} uct="0.001" uht="0.002" urt="0.102" us="200"\n'
        )
    result = run(str(tmp_path / "access.log*"), "--config", str(tmp_path / "x.toml"), "--output", "-")
    assert 'dify_requests_total{source="edge",method="GET",route="/v1/info",status_code="200"} 2.0' in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("x",), "expected one of --output FILE and --blocks FOLDER"),
        (("x", "--output", "a", "--blocks", "b"), "expected one of --output FILE and --blocks FOLDER"),
        (("x", "--output", "a", "--label", "source=b"), '--label: found "source=b", but the metrics have a label of this name: choose another name'),
        (("x", "--output", "a", "--label", "le=1"), '--label: found "le=1", but the metrics have a label of this name: choose another name'),
        (("x", "--output", "a", "--label", "a=1", "--label", "a=2"), '--label: found "a=2", but its name is given twice: choose another name'),
        (("x", "--output", "a", "--label", "__name__=b"), '--label: expected a name and a value such as job=dify-exporter, found "__name__=b"'),
        (("x", "--output", "a", "--label", "job"), '--label: expected a name and a value such as job=dify-exporter, found "job"'),
        (("none.log", "--output", "a"), "none.log: cannot be read: No such file or directory"),
        (("x", "--output", "/nowhere/a"), "/nowhere/a: cannot be written: No such file or directory"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert not list(tmp_path.iterdir()), "nothing is left"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"dify-exporter: {sentence}\n")


def test_the_last_hour_of_runs_is_counted(tmp_path: Path) -> None:
    """A run whose outcome is final after the last line is in the last sample."""
    found = [event for event in events(per_day=80) if event["kind"] == "worker"][:3]
    files = write(tmp_path, found)
    series = series_of(run(*files, "--output", "-").stdout)
    runs = [samples for name, samples in series.items() if name.startswith("dify_runs_total")]
    last = found[-1]["at"] + timedelta(minutes=2)
    assert sum(value_at(samples, last) for samples in runs) == 3


def test_a_wrong_clock_is_named(tmp_path: Path) -> None:
    """Its lines count with the lines before them: no sample is in 1970, or in the future."""
    begin = datetime(2026, 10, 5, 18, tzinfo=UTC)
    times = [begin + timedelta(minutes=number) for number in range(40)]
    times[10], times[20], times[21] = (datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 2099, 2099))
    lines = [f'::1 - - [{at:%d/%b/%Y:%H:%M:%S} +0000] "GET /v1/info HTTP/1.1" 200 5 "-" "-" "-"\n' for at in times]
    (tmp_path / "access.log").write_text("".join(lines))
    result = run(str(tmp_path / "access.log"), "--output", "-")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[1:] == [
        "source nginx: 2 lines have an implausible time, more than a day ahead of the clock or of the times around "
        "it; counted with the line before",
        "source nginx: 1 line has a time that is more than 16 hours before the times around it; counted with the line before",
    ]
    samples = [each for name, each in series_of(result.stdout).items() if name.startswith("dify_requests_total")]
    assert max(value for each in samples for _, value in each) == len(times)
    assert {at // 86_400 for each in samples for at, _ in each} == {int(begin.timestamp()) // 86_400}
