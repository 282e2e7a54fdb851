"""What an operator sees when the exporter is killed, its state is damaged, or its disk is full."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from exporter.ledger import exponential
from tests.durations import access_lines, books
from tests.durations import counted as by_bucket
from tests.exporter.metrics.metrics_proto import families, native_buckets
from tests.system import soak
from tests.system.exporter import COMMAND, Exporter, serving
from tests.system.programs import Process, find, running, until

SOURCE = '[[source]]\nname = "nginx"\npaths = ["access.log"]\nparser = "nginx"\n'
LINE = '127.0.0.1 - - [24/Nov/2026:11:11:42 +0000] "GET /v1/info HTTP/1.1" 200 47 "-" "curl" "-"\n'
STATE = Path(".dify-exporter/state")


def write(folder: Path, lines: int) -> None:
    with (folder / "access.log").open("a") as file:
        file.write(LINE * lines)


def counted(exporter: Exporter) -> int:
    return round(exporter.value("dify_requests_total"))


def count(folder: Path, lines: int) -> Exporter:
    """Runs once, until so many lines are counted in all, and gives the exporter that was."""
    with serving(folder, SOURCE, exporter_keys='start_at = "beginning"') as exporter:
        until(f"{lines} lines", lambda: counted(exporter) == lines)
    return exporter


def refused(folder: Path, exporter_keys: str = "", words: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Exit code and sentences of an exporter that does not come up; `words` run its command."""
    (folder / "exporter.toml").write_text(f'[exporter]\nlisten = "127.0.0.1:0"\n{exporter_keys}\n{SOURCE}')
    ended = subprocess.run([*words, COMMAND, "serve"], cwd=folder, capture_output=True, text=True, timeout=60)
    return ended.returncode, [line for line in ended.stderr.splitlines() if line.startswith("dify-exporter:")]


def test_kills_under_load_rotation_and_scraping(tmp_path: Path) -> None:
    """C33, in short; `make soak` is the long one."""
    found = soak.soak(tmp_path, soak.Terms(kills=8, seconds=1.5, seed=random.randrange(1000)))
    assert found.exact, soak.table(found)
    assert found.rotations > 2


def test_every_bucket_is_exact_after_kills(tmp_path: Path) -> None:
    """Both kinds of buckets and the sums are what the log says, however often the exporter is killed between scrapes."""
    found = books(seed=4, lines=200)
    lines, source = list(access_lines(found)), SOURCE.replace("nginx", "dify")
    log = tmp_path / "access.log"
    log.touch()
    for begin in range(0, len(lines), 1000):
        with serving(tmp_path, source, exporter_keys='start_at = "beginning"') as exporter:
            with log.open("a") as file:
                file.writelines(line + "\n" for line in lines[begin : begin + 1000])
            until("some lines", lambda begin=begin: counted(exporter) > begin)
            exporter.process.kill()
    with serving(tmp_path, source) as exporter:
        until("all lines", lambda: counted(exporter) == len(lines))
        request = Request(exporter.url + "/metrics", headers={"Accept": "application/vnd.google.protobuf"})
        with urlopen(request, timeout=10) as answer:
            shown = {family.name: family for family in families(answer.read())}
    histograms = {
        pair.value: metric.histogram
        for metric in shown["dify_handler_duration_seconds"].metric
        for pair in metric.label
        if pair.name == "route"
    }
    assert histograms.keys() == {book.route for book in found}
    for book in found:
        histogram, counts = histograms[book.route], dict[int, int]()
        exponential.merge(counts, by_bucket(book.durations))
        assert histogram.sample_sum == sum(book.durations) / 10**9
        assert native_buckets(histogram) == {n + exponential.ZERO_INDEX: count for n, count in counts.items()}
        for bucket in histogram.bucket:
            below = sum(duration <= bucket.upper_bound * 10**9 for duration in book.durations)
            assert bucket.cumulative_count == below


def test_sigterm_under_load_stores_everything(tmp_path: Path) -> None:
    """C32: exit 0, exact after the restart, births kept."""
    writer = soak.Writer(tmp_path / "access.log", soak.Terms(rate=5000, rotate=3600))
    source = SOURCE + 'format = "dify-timed"\n'
    accept = "application/openmetrics-text;version=1.0.0"

    def births(exporter: Exporter) -> set[str]:
        text = exporter.get("/metrics?created=true", Accept=accept)
        return {line for line in text.splitlines() if line.startswith("dify_requests_created")}

    writer.start()
    try:
        seen, born = 0, set()
        for _ in range(3):
            with serving(tmp_path, source, exporter_keys='start_at = "beginning"') as exporter:
                before = counted(exporter)
                assert before >= seen
                until("more lines", lambda before=before: counted(exporter) > before)
                assert born <= births(exporter)
                seen, born = counted(exporter), births(exporter)
                exporter.process.send(signal.SIGTERM)
                assert exporter.process.ended() == 0
                assert any("stopped" in line for line in exporter.process.lines)
    finally:
        writer.ended.set()
        writer.join()
    with serving(tmp_path, source) as exporter:
        until("all lines", lambda: counted(exporter) == writer.written)


def test_a_stopped_exporter_has_stored_what_it_counted_last(tmp_path: Path) -> None:
    write(tmp_path, 100)
    count(tmp_path, 100)
    write(tmp_path, 5)
    assert count(tmp_path, 105).process.lines


def test_a_damaged_state_is_set_aside_and_its_sources_count_as_never_seen(tmp_path: Path) -> None:
    """C34, where there is no earlier one: it starts, says it once, and reads no half line."""
    write(tmp_path, 100)
    count(tmp_path, 100)
    (state,) = (tmp_path / STATE).glob("state.?")
    state.write_bytes(b"\x93\x01garbage" * 99)
    exporter = count(tmp_path, 100)
    warnings = [line for line in exporter.process.lines if "set aside as" in line]
    assert len(warnings) == 1
    assert "level=warning" in warnings[0]
    assert state.with_name(f"{state.name}.damaged").exists()
    assert not any("set aside" in line for line in count(tmp_path, 100).process.lines)


def test_an_older_state_never_shows_less(tmp_path: Path) -> None:
    """C34, where an earlier one is good: what is missing is read from the logs before anything is shown."""
    write(tmp_path, 100)
    count(tmp_path, 100)
    write(tmp_path, 200_000)
    count(tmp_path, 200_100)
    newest = max((tmp_path / STATE).glob("state.?"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(b"?")
    text = '[exporter]\nlisten = "127.0.0.1:0"\n' + SOURCE
    (tmp_path / "exporter.toml").write_text(text)
    with running([COMMAND, "serve"], tmp_path) as process:
        exporter = Exporter(process)

        def shown() -> int:
            with suppress(HTTPError):
                return counted(exporter)
            return 0

        assert until("an answer", shown) == 200_100
        process.said("set aside as")


def test_a_position_beyond_the_end_counts_from_there_on(tmp_path: Path) -> None:
    """C34: the log was cut while nobody looked; nothing is read twice and no half line."""
    write(tmp_path, 100)
    count(tmp_path, 100)
    os.truncate(tmp_path / "access.log", len(LINE) * 50 + 10)
    write(tmp_path, 1)
    with serving(tmp_path, SOURCE) as exporter:
        write(tmp_path, 2)
        until("the new lines", lambda: counted(exporter) >= 102)
        assert counted(exporter) <= 103


def mortal() -> list[str]:
    """The words that make permissions count: root without its right to overlook them."""
    return [] if os.geteuid() else [find("setpriv"), "--bounding-set", "-dac_override,-dac_read_search"]


def test_a_state_of_somebody_else_is_exit_2(tmp_path: Path) -> None:
    """C34, C36: it cannot be read, its folder cannot be written, its lock cannot be opened."""
    write(tmp_path, 1)
    count(tmp_path, 1)
    for what, mode in (("state.1", 0o000), (".", 0o500), ("lock", 0o000)):
        (tmp_path / STATE / what).chmod(mode)
        code, sentences = refused(tmp_path, words=mortal())
        (tmp_path / STATE / what).chmod(0o700)
        assert (code, len(sentences)) == (2, 1), what
        assert f"[exporter] state: cannot be used at {(tmp_path / STATE / what).resolve()}: " in sentences[0]


UNUSABLE = {
    "a file is in its place": "access.log",
    "a file is above it": "access.log/state",
    "it cannot be made": "/proc/state",
}


@pytest.mark.parametrize("why", UNUSABLE)
def test_a_state_that_cannot_be_made_is_exit_2(tmp_path: Path, why: str) -> None:
    write(tmp_path, 1)
    code, sentences = refused(tmp_path, exporter_keys=f'state = "{UNUSABLE[why]}"')
    assert (code, len(sentences)) == (2, 1)
    assert "[exporter] state: cannot be used at" in sentences[0]


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[list[str]]:
    """The words that run a command where a small tmpfs is mounted at `folder`, seen by that command only."""
    folder.mkdir(parents=True)
    mount = f'mount -t tmpfs {" ".join(options)} none {folder} && exec "$0" "$@"'
    words = [
        find("unshare"),
        *(["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]),
        "sh",
        "-c",
        mount,
    ]
    if subprocess.run([*words, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield words


@pytest.mark.privileged
def test_a_full_disk_shows_the_live_numbers_and_recovers(tmp_path: Path) -> None:
    """C35: a 64 kB tmpfs, filled and freed by a program that shares its view."""
    write(tmp_path, 10)
    state = tmp_path / "state"
    (tmp_path / "exporter.toml").write_text(
        '[exporter]\nlisten = "127.0.0.1:0"\nstate = "state"\nstart_at = "beginning"\n' + SOURCE
    )
    with mounted(state, "-o size=64k") as words, running([*words, COMMAND, "serve"], tmp_path) as process:
        exporter = Exporter(process)
        process.said("first pass done")
        inside = Path(f"/proc/{process.pid}/root{state}")
        until("ten lines", lambda: counted(exporter) == 10)
        assert exporter.value("dify_exporter_checkpoint_errors_total") == 0
        inside_files = sorted(path.name for path in inside.iterdir())
        assert inside_files == ["lock", "state.1"]
        kept = (inside / "state.1").read_bytes()
        fill(inside / "full")

        def errors() -> float:
            write(tmp_path, 1)
            return exporter.value("dify_exporter_checkpoint_errors_total")

        until("an error", errors)
        until("the live numbers", lambda: counted(exporter) == lines(tmp_path))
        assert not (inside / "state.tmp").exists()
        assert (inside / "state.1").read_bytes().startswith(kept)
        (inside / "full").unlink()
        process.said("the state can be written again")
        write(tmp_path, 1)
        until("the durable numbers", lambda: counted(exporter) == lines(tmp_path))
        before = errors()
        assert errors() == before
        assert sum("the state cannot be written" in line for line in process.lines) == 1


def lines(folder: Path) -> int:
    return (folder / "access.log").read_text().count("\n")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass


@pytest.mark.privileged
def test_a_read_only_state_is_exit_2(tmp_path: Path) -> None:
    """C36, also for root."""
    write(tmp_path, 1)
    with mounted(tmp_path / "state", "-o ro") as words:
        code, sentences = refused(tmp_path, 'state = "state"', words)
    assert code == 2
    assert sentences == [
        f"dify-exporter: exporter.toml: [exporter] state: cannot be used at {tmp_path}/state: it is not writable"
    ]


def test_a_second_exporter_waits_until_the_first_has_left(tmp_path: Path) -> None:
    """C37: not ready and saying why, then it goes on where the first one ended."""
    write(tmp_path, 10)
    with serving(tmp_path, SOURCE, exporter_keys='start_at = "beginning"') as first:
        until("ten lines", lambda: counted(first) == 10)
        second = Process([COMMAND, "serve"], tmp_path)
        try:
            waiting = Exporter(second)

            def reason() -> str:
                with pytest.raises(HTTPError) as answer:
                    waiting.get("/-/ready")
                assert answer.value.code == 503
                return answer.value.read().decode()

            holder = f"is in use by the exporter with process id {first.process.pid}"
            until("the reason", lambda: holder in reason())
            with pytest.raises(HTTPError):
                waiting.metrics()
            first.process.send(signal.SIGTERM)
            second.said("first pass done")
            assert counted(waiting) == 10
        finally:
            assert second.stop() == 0


def test_a_second_exporter_that_waits_can_be_stopped(tmp_path: Path) -> None:
    with serving(tmp_path, SOURCE), running([COMMAND, "serve"], tmp_path) as second:
        second.said("listening on")
        assert second.stop() == 0


def test_a_second_exporter_gives_up(tmp_path: Path) -> None:
    """C37; with less patience than an operator's."""
    with serving(tmp_path, SOURCE) as first:
        program = "from exporter.cli import serve; serve._LOCK_TIMEOUT = 0.5; serve.serve()"
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 2
        assert f"process id {first.process.pid}" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
