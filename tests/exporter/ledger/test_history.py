"""The history by day: each line is in the book of its day, exactly once, whatever happens to the process."""

import random
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.ledger import book as tables
from exporter.ledger import source_books
from exporter.ledger.book import Book
from exporter.ledger.history import NEWEST_DAYS, NO_DAY, History, HistoryConfig
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.state import State
from exporter.persistence import archive
from exporter.persistence.archive import Archive
from exporter.persistence.checkpoint import Checkpoint
from exporter.report.gather import from_history
from exporter.tail.position import Position, RotationEvents, Window
from parsers.batch import Batch, Closed, Failure, OfSpan, Opened, Request, SpanApp, Usage
from parsers.nginx import Nginx

PARSER = Nginx(format='$msec "$request" $status $request_time')
START = 1_790_000_000
DAY = 86_400


def line(at: float, status: int = 200) -> bytes:
    return b'%.3f "GET /v1/info HTTP/1.1" %d 0.100\n' % (at, status)


class Rig:
    """A ledger with one source whose log grows, and its state in a folder."""

    def __init__(self, folder: Path, timezone: str = "UTC", days: int = 400, parser: Nginx = PARSER) -> None:
        self.parser = parser
        self.now = float(START + 100 * DAY)
        self.folder, self.config = folder, HistoryConfig(timezone, days)
        self.offset: Counter[str] = Counter()
        self.rereads = False
        self.begin()

    def begin(self, *sources: str) -> None:
        """Start a process with these sources, "nginx" if none is given. What the previous one did not store is lost."""
        self.ledger = Ledger(Limits(), lambda: self.now)
        history = History(self.config, Limits(), lambda: self.now)
        history.rereads = self.rereads
        self.ledger.keep_history(history)
        self.checkpoint, self.archive = Checkpoint(self.folder), Archive(self.folder, lambda: self.now)
        state, _ = self.checkpoint.load()
        if state is not None:
            self.ledger.restore(state, sources or ("nginx",))
            self.archive.store(self.ledger)
        configured = sources or ("nginx",)
        self.offset = Counter({file: at.offset for file, at in self.ledger.positions(configured[0]).items()})
        for source in configured:
            self.ledger.open(source, lambda window, final, skip: self.parser.parse(window, final))

    def restart(self, *sources: str) -> None:
        self.checkpoint.close()
        self.begin(*sources)

    def post(self, log: bytes, file: str = "f") -> None:
        """Post the unread rest of a log."""
        data = log[self.offset[file] :]
        batch = self.parser.parse(data)
        position = Position("f", 1, 1, 1, offset=self.offset[file])
        self.ledger.post(Window("nginx", file, position, data), batch)
        self.offset[file] += batch.consumed

    def commit(self) -> None:
        self.checkpoint.save(self.ledger.changes())
        self.archive.store(self.ledger)

    def lines(self) -> dict[str, int]:
        """The lines per day, of the state and of the archive."""
        books = {**self.ledger.books(), **archive.read(self.folder)[0]}
        return {day: book[tables.LINES,] for (_, day, _), book in books.items()}  # type: ignore[misc]


def per_day(times: list[float], timezone: str) -> dict[str, int]:
    local = ZoneInfo(timezone)
    return dict(Counter(datetime.fromtimestamp(at, local).date().isoformat() for at in times))


@settings(max_examples=settings.default.max_examples * 2 // 5)
@given(
    seed=st.integers(0, 10**6),
    timezone=st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu"]),
)
def test_the_days_add_up_whatever_is_lost_between(
    tmp_path_factory: pytest.TempPathFactory, seed: int, timezone: str
) -> None:
    """Windows of any size, commits and crashes at any moment."""
    chance = random.Random(seed)
    rig = Rig(tmp_path_factory.mktemp("state"), timezone)
    times = sorted(START + chance.random() * 20 * DAY for _ in range(300))
    log, end = b"".join(line(at) for at in times), 0
    while end < len(log):
        end = min(len(log), end + chance.randrange(1, 4000))
        rig.post(log[:end])
        rig.now += chance.choice([0, 1, 30])
        if chance.random() < 0.4:
            rig.commit()
        if chance.random() < 0.2:
            rig.checkpoint.close()
            rig.begin()
    rig.post(log)
    rig.now += 30
    rig.commit()
    assert rig.lines() == per_day(times, timezone)
    rig.checkpoint.close()


def test_the_newest_days_stay_and_older_ones_go_to_the_archive(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    log = b"".join(line(START + number * DAY) for number in range(20))
    rig.post(log)
    rig.commit()
    assert not archive.read(tmp_path)[0], "other files of the source may still be read"
    rig.now += 61
    log += line(START + 19 * DAY + 1)
    rig.post(log)
    rig.commit()
    stored, _ = archive.read(tmp_path)
    first = datetime.fromtimestamp(START, UTC).date()
    assert [day for _, day, _ in sorted(stored)] == [(first + timedelta(days=n)).isoformat() for n in range(12)]
    rig.commit()
    assert len(rig.checkpoint.state.history) == NEWEST_DAYS
    rig.post(line(START + 3 * DAY, 404) * 2, "an older file")
    assert rig.lines()[NO_DAY] == 2
    assert rig.lines()[(first + timedelta(days=3)).isoformat()] == 1


def test_the_days_of_a_log_without_times_go_to_the_archive_too(tmp_path: Path) -> None:
    rig = Rig(tmp_path, parser=Nginx(format='"$request" $status'))
    for day in range(1, 21):
        rig.post(b'"GET /v1/info HTTP/1.1" 200\n' * day)
        rig.commit()
        rig.now += DAY
    assert len(archive.read(tmp_path)[0]) == 12
    assert sum(rig.lines().values()) == 20


def test_days_that_a_file_still_reaches_stay_open(tmp_path: Path) -> None:
    """Two old logs that are read in turns: the shorter one is at its end long before the other."""
    rig = Rig(tmp_path)
    days = [START + number * DAY for number in range(30)]
    rig.post(b"".join(map(line, days)), "short")
    log = b""
    for day in days:
        log += line(day) * 3
        rig.now += 30
        rig.post(log, "long")
        rig.commit()
    assert set(rig.lines().values()) == {4}
    assert len(archive.read(tmp_path)[0]) > 15


def test_a_time_that_is_not_believed_counts_in_no_day(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.post(line(START) + line(START + 300 * DAY) + line(START + 1))
    assert sorted(rig.lines().values()) == [1, 2]
    assert rig.lines()[NO_DAY] == 1


@pytest.mark.parametrize("most", [0, source_books._MOST_WAITING])
def test_numbers_that_wait_belong_to_the_day_of_their_batch(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_books, "_MOST_WAITING", most)
    ledger = Ledger(Limits(), lambda: START + 10 * DAY)
    ledger.keep_history(History(HistoryConfig(), Limits(), lambda: START + 10 * DAY))
    for day, duration in ((0, 1), (0, 2), (1, 3), (0, 4)):
        at = (START + day * DAY) * 10**9
        request = Request("GET", "/v1/info", "200", durations=(duration * 10**9,))
        ledger.enter("api", Batch(1, 1, last_at=at, records=(request,)), at)
    found = [
        (
            book[tables.LINES,],
            book[tables.REQUESTS, "/v1/info", "2xx"],
            sum(book[tables.DURATIONS, "/v1/info", "2xx"].values()),
        )
        for book in ledger.books().values()
    ]  # type: ignore[union-attr]
    assert found == [(3, 3, 3), (1, 1, 1)]
    assert sum(map(len, filter(None, ledger.changes().history.values()))) == 6


def test_the_numbers_of_a_book() -> None:
    ledger = Ledger(Limits(), lambda: START + 10 * DAY)
    ledger.keep_history(History(HistoryConfig(), Limits(), lambda: START))
    at = START * 10**9
    records = (
        Request("POST", "/v1/chat-messages", "500", "server_error", 2, None, (10**9, 2 * 10**9)),
        Usage("app", "openai", "gpt", 10, 5, None, Decimal("0.5"), "USD", at),
        Usage("app", "openai", "gpt", None, None, 7, None, at=at),
        Failure("rate_limited", 3),
        Opened("t", "workflow", "app", at - 2 * DAY * 10**9),
        Closed("t", "finished", 10**9, at - DAY * 10**9),
    )
    ledger.enter("api", Batch(1, 9, last_at=at, records=records), at)
    ledger.snapshot(None)
    today, yesterday = (datetime.fromtimestamp(START - n * DAY, UTC).date().isoformat() for n in (0, 1))
    books = {day: book for (_, day, _), book in ledger.books().items()}
    assert books[yesterday] == {(tables.RUNS, "workflow", "app", "finished"): 1}
    durations = books[today].pop((tables.DURATIONS, "/v1/chat-messages", "5xx"))  # type: ignore[attr-defined]
    assert sum(durations.values()) == 2
    assert books[today] == {
        (tables.LINES,): 9,
        (tables.REQUESTS, "/v1/chat-messages", "5xx"): 2,
        (tables.FAILED_REQUESTS, "/v1/chat-messages", "server_error"): 2,
        (tables.TOKENS, "app", "openai", "gpt", "input"): 10,
        (tables.TOKENS, "app", "openai", "gpt", "output"): 5,
        (tables.TOKENS, "app", "openai", "gpt", "unsplit"): 7,
        (tables.COST, "app", "openai", "gpt", "USD"): Decimal("0.5"),
        (tables.UNPRICED_TOKENS, "app", "openai", "gpt"): 7,
        (tables.ERRORS, "rate_limited"): 3,
    }


def test_a_book_has_a_cap_and_clean_labels() -> None:
    book = Book(Limits(series_per_counter=2, label_length=5))
    for route in ("/a", "/b", "/c", "/d"):
        book.add((tables.REQUESTS, route, "2xx"), 1)
    book.add((tables.ERRORS, "other"), 1)
    book.add((tables.REQUESTS, "/a", "2xx"), 1)
    assert {labels[1:]: number for labels, number in book.items() if labels[0] == tables.REQUESTS} == {
        ("/a", "2xx"): 2,
        ("/b", "2xx"): 1,
        ("other", "2xx"): 2,
    }
    again = Book(Limits(series_per_counter=2))
    again.restore({**book})
    again.add((tables.REQUESTS, "/e", "2xx"), 1)
    assert again[tables.REQUESTS, "other", "2xx"] == 3
    fresh = Book(Limits(label_length=5))
    fresh.add((tables.REQUESTS, "/a\n456789", ""), 1)
    assert list(fresh) == [(tables.REQUESTS, "/a\N{REPLACEMENT CHARACTER}45", "other")]


def test_no_history_is_kept_with_0_days(tmp_path: Path) -> None:
    rig = Rig(tmp_path, days=0)
    rig.post(line(START))
    rig.commit()
    assert rig.checkpoint.state.history == {}


def test_days_of_another_time_zone_are_kept_apart(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.post(line(START))
    rig.ledger.configure(Limits(), (), (), HistoryConfig("Asia/Shanghai"))
    rig.post(line(START) + line(START + 1))
    assert {zone_name for zone_name, _, _ in rig.ledger.books()} == {"UTC", "Asia/Shanghai"}
    rig.commit()
    assert {zone_name for zone_name, _, _ in archive.read(tmp_path)[0]} == {"UTC"}


def close_all(rig: Rig, begin: int = START) -> None:
    """Let some days leave the state."""
    rig.post(b"".join(line(begin + number * DAY) for number in range(12)), str(begin))
    rig.now += 61
    rig.post(b"", "g")
    rig.commit()


def test_old_days_leave_the_archive(tmp_path: Path) -> None:
    rig = Rig(tmp_path, days=99)
    close_all(rig)
    today = datetime.fromtimestamp(rig.now, UTC).date()
    assert sorted(day for _, day, _ in archive.read(tmp_path)[0]) == [
        (today - timedelta(days=n)).isoformat() for n in (99, 98, 97)
    ]


def test_as_many_days_as_anybody_asks_for_are_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path, days=10**9)
    close_all(rig)
    assert len(archive.read(tmp_path)[0]) == 4


def test_an_unexpected_error_of_the_archive_does_not_end_the_thread_that_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(archive, "_encode", lambda _: 1 / 0)
    rig = Rig(tmp_path)
    close_all(rig)
    assert len(rig.ledger.books()) == 12
    assert len(caplog.messages) == 1


def test_a_day_in_the_archive_is_not_replaced_by_a_part_of_it(tmp_path: Path) -> None:
    """A source that lost its state reads only the lines of a day that the log still has."""
    rig = Rig(tmp_path)
    rig.post(b"".join(line(START + second) for second in range(5)))
    close_all(rig, START + DAY)
    days = rig.lines()
    for name in ("state.0", "state.1"):
        (tmp_path / name).unlink(missing_ok=True)
    rig.checkpoint.close()
    rig.begin()
    rig.post(line(START + 4))
    close_all(rig, START + DAY)
    assert rig.lines() == days


@pytest.mark.parametrize("ahead", [2, 400])
def test_usages_of_the_future_do_not_push_real_days_out(tmp_path: Path, ahead: int) -> None:
    """A span that joins late counts at its own time, which a client chooses."""
    rig = Rig(tmp_path)
    rig.post(line(rig.now))
    for number in range(NEWEST_DAYS + 1):
        at = round(rig.now + (ahead + number) * DAY) * 10**9
        usage = Usage("unknown", "p", "m", 1, 2, at=at)
        rig.ledger.enter("nginx", Batch(1, 1, records=(OfSpan(f"s{number}", usage, at),), last_at=at), is_doubtful=True)
        rig.ledger.enter("nginx", Batch(1, 1, records=(SpanApp(f"s{number}", "app"),)))
    rig.now += 61
    rig.post(line(rig.now), "g")
    rig.commit()
    assert not archive.read(tmp_path)[0]
    assert {day for _, day, _ in rig.ledger.books()} == {
        datetime.fromtimestamp(rig.now, UTC).date().isoformat(),
        NO_DAY,
    }


def test_a_time_zone_that_comes_back_continues_its_day(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for file, name in enumerate(("UTC", "Asia/Shanghai", "UTC")):
        rig.ledger.configure(Limits(), (), (), HistoryConfig(name))
        rig.post(line(rig.now), str(file))
        rig.commit()
    [book] = [book for (name, _, _), book in rig.ledger.books().items() if name == "UTC"]
    assert book[tables.LINES,] == 2
    assert not archive.read(tmp_path)[0]


@pytest.mark.parametrize("content", [b"no database at all, only text " * 50, b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_archive_is_set_aside(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / archive.NAME).write_bytes(content)
    rig = Rig(tmp_path)
    close_all(rig)
    assert len(archive.read(tmp_path)[0]) == 4
    assert (tmp_path / "history.db.damaged").read_bytes() == content
    [sentence] = caplog.messages
    assert "cannot be used" in sentence
    assert sentence.endswith("it was set aside as history.db.damaged")


def test_an_archive_that_was_half_written_is_rolled_back(tmp_path: Path) -> None:
    """kill -9 in the middle of a transaction; the exporter does not write again before the next midnight."""
    rig = Rig(tmp_path)
    close_all(rig)
    before = archive.read(tmp_path)
    code = (
        "import os, signal, sqlite3, sys; database = sqlite3.connect(sys.argv[1]); database.execute('PRAGMA cache_size = 1'); "
        "database.executemany('INSERT INTO days VALUES (?, ?, ?, ?)', "
        "[('UTC', str(n), 's', os.urandom(9999)) for n in range(99)]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / archive.NAME])
    assert (tmp_path / f"{archive.NAME}-journal").exists()
    assert archive.read(tmp_path) == before


def test_an_archive_of_a_later_version_is_set_aside(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / archive.NAME) as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    rig = Rig(tmp_path)
    close_all(rig)
    assert len(archive.read(tmp_path)[0]) == 4


def test_days_stay_in_the_state_while_the_archive_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / archive.NAME).mkdir()
    rig = Rig(tmp_path)
    close_all(rig)
    rig.commit()
    assert len(rig.ledger.books()) == 12
    assert len(caplog.messages) == 1, "one sentence"
    (tmp_path / archive.NAME).rmdir()
    rig.commit()
    assert len(rig.ledger.books()) == 8
    assert len(archive.read(tmp_path)[0]) == 4


def test_a_crash_between_the_archive_and_the_state_writes_the_same_day_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    close_all(rig)
    before = rig.lines()
    for _ in range(2):  # the second process dies before its first commit
        rig.restart()
        assert (len(rig.ledger.books()), rig.lines()) == (8, before)
    rig.commit()
    assert (len(rig.ledger.books()), rig.lines()) == (8, before)


def test_the_books_of_a_source_that_is_gone_go_to_the_archive(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.post(line(START))
    state: State = rig.ledger.changes()
    other = Ledger(Limits(), lambda: rig.now)
    other.keep_history(History(HistoryConfig(), Limits(), lambda: rig.now))
    other.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State), ["another"])
    assert len(other.closed_days()) == 1


@pytest.mark.parametrize("stored", ["nothing", "the state", "the archive", "both"])
@pytest.mark.parametrize("rereads", [(False, False), (True, True), (False, True)], ids=["end", "beginning", "changed"])
def test_a_source_that_is_removed_and_added_again_on_a_day(
    tmp_path: Path, rereads: tuple[bool, bool], stored: str
) -> None:
    """If reading continues at the end of its log, its day continues. If the log is read again, the larger count stays.

    The process without the source is killed when it has stored this much.
    """
    rig = Rig(tmp_path)
    today = round(rig.now) // 86_400 * 86_400
    log = b"".join(line(today + number) for number in range(10))

    rig.rereads, finally_rereads = rereads
    rig.restart()
    rig.post(log)
    rig.commit()
    rig.restart("another")
    if stored != "nothing":
        rig.checkpoint.save(rig.ledger.changes())
    if stored in ("the archive", "both"):
        rig.archive.store(rig.ledger)
    if stored == "both":
        rig.commit()  # the day has left the state
    rig.rereads = finally_rereads
    rig.restart()
    assert bool(rig.offset) == (stored == "nothing")
    more = b"".join(line(today + 100 + number) for number in range(7))
    log = log + more if finally_rereads or rig.offset else more
    for _ in range(2):
        rig.post(log)
        rig.commit()
        assert [each.entries[tables.LINES,] for each in from_history(tmp_path).books] == [17]
        rig.restart()


def test_a_source_whose_files_are_gone_continues_its_day_with_the_next_file(tmp_path: Path) -> None:
    """It was not removed, so a new file has only new lines."""
    rig = Rig(tmp_path)
    rig.rereads = True
    rig.restart()
    today = round(rig.now) // 86_400 * 86_400
    rig.post(line(today))
    rig.ledger.set_searched_paths("nginx", ["/log"])
    events = RotationEvents(forget=("f",))
    rig.ledger.post(Window("nginx", "f", Position("f", 1, 1, 1, offset=rig.offset["f"]), b"", events=events), Batch())
    rig.commit()
    rig.restart()
    assert not rig.ledger.positions("nginx")
    rig.post(line(today + 1), "g")
    rig.commit()
    assert [each.entries[tables.LINES,] for each in from_history(tmp_path).books] == [2]


def test_numbers_beyond_64_bits_are_stored(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.ledger.enter(
        "x", Batch(1, 1, records=(Usage("a", "b", "c", 2**63 - 1),) * 4, last_at=START * 10**9), START * 10**9
    )
    rig.commit()
    rig.restart("x")
    [book] = [book for (_, _, source), book in rig.ledger.books().items() if source == "x"]
    assert book[tables.TOKENS, "a", "b", "c", "input"] == 4 * (2**63 - 1)
