"""Runs and streams get their outcome from the errors of their trace id, in any order and over restarts."""

import random
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import catalogue as c
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.state import State
from exporter.persistence.checkpoint import Checkpoint
from exporter.tail.position import Position, Window
from parsers import batch as b
from parsers.values.times import iso_of

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
BEGUN = 1_795_000_000 * SECOND
APP = "8b0e7153-bf7c-4370-a6d8-5c524e440066"


class Clock:
    """A wall clock in seconds that a test moves."""

    def __init__(self) -> None:
        self.now = BEGUN / SECOND + 1000

    def __call__(self) -> float:
        return self.now


DAY = 86_400 * SECOND


class Rig:
    """One ledger and one log file of one source."""

    def __init__(self, **limits: int) -> None:
        self.clock, self.limits, self.offset = Clock(), Limits(**limits), 0
        self.ledger = Ledger(self.limits, self.clock)

    def post(self, *records: b.Record, at: int | None = None, file: str = "f") -> None:
        """Posts records, the newest of whose lines was written at `at` nanoseconds after the beginning."""
        position = self.ledger.positions("s").get(file) or Position("log", 1, 0, 0)
        last_at = None if at is None else BEGUN + at
        batch = b.Batch(consumed=1, lines=1, records=records, last_at=last_at)
        self.ledger.post(Window("s", file, position, b"x"), batch)

    def runs(self) -> dict[tuple[str, ...], int]:
        """Runs that a scrape shows now."""
        counted = self.ledger.snapshot(self.clock()).counters[c.RUNS].items()
        return {labels[1:]: int(count) for labels, count in counted if count}

    def failed(self) -> dict[tuple[str, ...], int]:
        counted = self.ledger.snapshot(self.clock()).counters[c.FAILED_REQUESTS].items()
        return {labels[1:]: int(count) for labels, count in counted if count}


def opened(trace_id: str, at: int = 0) -> b.Opened:
    return b.Opened(trace_id, "workflow", APP, BEGUN + at)


def closed(trace_id: str, at: int, status: str = "finished") -> b.Closed:
    return b.Closed(trace_id, status, SECOND, BEGUN + at)


def error(trace_id: str, at: int, level: b.ErrorLevel = "run") -> b.TraceError:
    return b.TraceError(trace_id, level, BEGUN + at)


def accepted(trace_id: str, at: int, failure: str = "stream_error") -> b.Accepted:
    route = "/v1/workflows/run" if failure == "run_failed" else "/v1/chat-messages"
    return b.Accepted(route, failure, trace_id, iso_of(BEGUN + at))


def test_a_run_waits_for_its_errors_and_then_appears_although_no_line_follows() -> None:
    rig = Rig()
    rig.post(opened("t"), closed("t", SECOND), at=SECOND)
    assert rig.runs() == {}
    rig.clock.now += 1.9
    assert rig.runs() == {}
    rig.clock.now += 0.1
    assert rig.ledger.changes().counters[c.RUNS.name] == {("s", "workflow", APP, "finished"): 1}
    assert rig.runs() == {("workflow", APP, "finished"): 1}
    assert rig.ledger.changes().empty


def test_a_clock_that_is_set_back_holds_no_run() -> None:
    rig = Rig()
    rig.post(opened("t"), closed("t", SECOND), at=SECOND)
    rig.clock.now -= 0.1
    assert rig.runs() == {}
    rig.clock.now -= 3600
    assert rig.runs() == {("workflow", APP, "finished"): 1}


@pytest.mark.parametrize("hours", [1, 15, 17])
def test_a_clock_of_the_log_that_is_set_back_holds_no_run_and_hides_no_failure(hours: int) -> None:
    jump = hours * 3600 * SECOND
    rig = Rig()
    rig.clock.now += 20 * 3600
    rig.post(opened("t", jump), closed("t", jump + SECOND), opened("u", jump), at=jump + SECOND)
    rig.post(error("t", jump), at=jump - SECOND)  # out of order
    assert rig.runs() == {}
    rig.post(error("u", SECOND), at=SECOND)
    assert rig.runs() == {("workflow", APP, "failed"): 1}
    rig.post(closed("u", 2 * SECOND), at=2 * SECOND)
    rig.post(at=9 * SECOND)
    assert rig.runs() == {("workflow", APP, "failed"): 2}


@pytest.mark.parametrize("late", [1, 59, 1999])
def test_an_error_behind_the_end_decides(late: int) -> None:
    rig = Rig()
    rig.post(opened("t"), closed("t", SECOND), at=SECOND)
    rig.clock.now += 1.9
    rig.post(error("t", SECOND + late * MILLISECOND), at=SECOND + late * MILLISECOND)
    rig.clock.now += 2
    assert rig.runs() == {("workflow", APP, "failed"): 1}


def test_a_backlog_is_held_by_event_time_and_not_by_the_clock() -> None:
    """Between two windows of a backlog nothing is final that the next window can still change."""
    rig = Rig()
    rig.post(opened("t"), closed("t", SECOND), at=SECOND)
    rig.clock.now += 1.5
    rig.post(error("u", 2 * SECOND), at=2 * SECOND)
    rig.clock.now += 0.9
    assert rig.runs() == {}
    rig.post(error("t", SECOND + 50 * MILLISECOND), at=SECOND + 50 * MILLISECOND)
    rig.post(at=10 * SECOND)
    assert rig.runs() == {("workflow", APP, "failed"): 1}


def test_lines_of_another_file_end_no_hold() -> None:
    rig = Rig()
    rig.post(opened("t"), closed("t", SECOND), at=SECOND)
    rig.post(at=90 * SECOND, file="g")
    assert rig.runs() == {}
    rig.post(error("t", SECOND), at=SECOND)
    rig.post(at=6 * SECOND)
    assert rig.runs() == {("workflow", APP, "failed"): 1}


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([], "finished"),
        ([error("t", 500 * MILLISECOND, "plugin")], "partial-succeeded"),
        ([error("t", 500 * MILLISECOND, "node")], "partial-succeeded"),
        ([error("t", 500 * MILLISECOND, "plugin"), error("t", SECOND, "run")], "failed"),
        ([error("t", SECOND, "run"), error("t", SECOND, "plugin")], "failed"),
        ([error("t", 4 * SECOND, "run")], "finished"),
        ([error("u", 500 * MILLISECOND, "run")], "finished"),
    ],
    ids=["none", "plugin", "node", "both", "both turned", "too late", "another run's"],
)
def test_the_worst_error_of_a_run_is_its_outcome(errors: list[b.TraceError], status: str) -> None:
    facts: list[b.Record] = [opened("t"), *errors, closed("t", SECOND)]
    for order in (facts, facts[::-1], [closed("t", SECOND), *errors, opened("t")]):
        rig = Rig()
        for fact in order:
            rig.post(fact, at=SECOND)
        rig.post(at=60 * SECOND)
        assert rig.runs() == {("workflow", APP, status): 1}


def test_a_retry_of_a_task_forgets_the_errors_of_its_first_attempt() -> None:
    rig = Rig()
    rig.post(
        opened("t"), error("t", SECOND, "run"), opened("t", 180 * SECOND), closed("t", 182 * SECOND), at=182 * SECOND
    )
    rig.post(at=190 * SECOND)
    assert rig.runs() == {("workflow", APP, "finished"): 1}


def test_a_task_that_raised_has_failed_whatever_else_is_known() -> None:
    rig = Rig()
    rig.post(opened("t"), error("t", 1, "plugin"), closed("t", SECOND, "failed"), at=SECOND)
    rig.post(at=60 * SECOND)
    assert rig.runs() == {("workflow", APP, "failed"): 1}


def test_a_run_without_a_trace_id_waits_for_nothing() -> None:
    rig = Rig()
    rig.post(closed("", SECOND), at=SECOND)
    assert rig.runs() == {("unknown", "unknown", "finished"): 1}


def test_a_run_that_telemetry_reports_too_fails_once() -> None:
    for restart in (False, True):
        rig = Rig()
        rig.post(b.Run("workflow", APP, "succeeded"), at=0)
        if restart:
            state, rig.ledger = rig.ledger.changes(), Ledger(rig.limits, rig.clock)
            rig.ledger.restore(state, ["s"])
        rig.post(opened("t"), error("t", 1, "run"), closed("t", SECOND), b.Run("workflow", APP, "failed"), at=SECOND)
        rig.post(at=60 * SECOND)
        expected = {"succeeded": 1, "failed": 1, "finished": 1}
        assert rig.runs() == {("workflow", APP, status): count for status, count in expected.items()}


def test_a_trace_id_that_a_client_uses_for_everything_gives_each_run_once() -> None:
    rig = Rig()
    for number in range(50):
        rig.post(opened("t", number), error("t", number, "run"), at=number)
    for number in range(50):
        rig.post(closed("t", SECOND + number), at=SECOND + number)
    rig.post(at=60 * SECOND)
    assert sum(rig.runs().values()) == 50


@pytest.mark.parametrize("stop", range(4))
def test_a_restart_in_the_hold_changes_nothing(stop: int, tmp_path: Path) -> None:
    """Killed after any commit, with what was not committed read again."""
    facts = [opened("t"), closed("t", SECOND), error("t", SECOND + 59 * MILLISECOND)]
    rig = Rig()
    checkpoint = Checkpoint(tmp_path)
    for fact in facts[:stop]:
        rig.post(fact, at=SECOND)
    checkpoint.save(rig.ledger.changes())
    for fact in facts[stop:]:
        rig.post(fact, at=SECOND)
    rig.clock.now += 30
    rig.runs()
    checkpoint.close()
    checkpoint = Checkpoint(tmp_path)
    state, _ = checkpoint.load()
    assert state is not None
    rig.ledger = Ledger(rig.limits, rig.clock)
    rig.ledger.restore(state, ["s"])
    assert rig.runs() == {}
    for fact in facts[stop:]:
        rig.post(fact, at=SECOND)
    rig.clock.now += 2
    checkpoint.save(rig.ledger.changes())
    assert rig.runs() == {("workflow", APP, "failed"): 1}
    checkpoint.close()


def test_a_state_from_before_the_joins_of_errors_is_read() -> None:
    state = msgspec.msgpack.decode(msgspec.msgpack.encode({"waiting": {"s": {"t": opened("t")}}}), type=State)
    rig = Rig()
    rig.ledger.restore(state, ["s"])
    rig.post(closed("t", SECOND), at=SECOND)
    rig.post(at=60 * SECOND)
    assert rig.runs() == {("workflow", APP, "finished"): 1}


@pytest.mark.parametrize(
    ("failure", "level", "late", "counts"),
    [
        ("stream_error", "plugin", 40, True),
        ("stream_error", "run", 40, True),
        ("stream_error", "node", 40, False),
        ("stream_error", "plugin", 0, True),
        ("stream_error", "plugin", -40, False),
        ("run_failed", "run", 70, True),
        ("run_failed", "run", -70, True),
        ("run_failed", "run", -2100, False),
        ("run_failed", "plugin", 70, False),
        ("run_failed", "plugin", -70, False),
    ],
)
def test_an_error_makes_a_failure_of_an_answered_request(
    failure: str, level: b.ErrorLevel, late: int, counts: bool
) -> None:
    """In either order of the lines; a second error of the same request counts nothing."""
    request, fault = accepted("t", SECOND, failure), error("t", SECOND + late * MILLISECOND, level)
    expected = {(request.route, failure): 1} if counts else {}
    for order in ([request, fault, fault], [fault, request, fault]):
        rig = Rig()
        for fact in order:
            rig.post(fact, at=SECOND)
        assert rig.failed() == expected


def test_a_stream_fails_after_a_restart_and_only_once() -> None:
    rig = Rig()
    rig.post(accepted("t", SECOND), at=SECOND)
    for count in (0, 1, 1):
        state = State()
        state.update(msgspec.msgpack.decode(msgspec.msgpack.encode(rig.ledger.changes()), type=State))
        rig.ledger = Ledger(rig.limits, rig.clock)
        rig.ledger.restore(state, ["s"])
        assert sum(rig.failed().values()) == count
        rig.post(error("t", 2 * SECOND, "plugin"), at=2 * SECOND)
        assert sum(rig.failed().values()) == 1


@pytest.mark.parametrize("size", [1, 100, 2500])
def test_what_waits_is_bounded_and_a_flood_only_pushes_the_oldest_out(size: int) -> None:
    rig = Rig(open_joins=500)
    for begin in range(0, 2500, size):
        numbers = range(begin, begin + size)
        names, times = "\n".join(f"t{n}" for n in numbers), "\n".join(iso_of(BEGUN + n) for n in numbers)
        rig.post(b.Accepted("/v1/chat-messages", "stream_error", names, times), at=SECOND)
        rig.post(*(error(f"e{n}", n) for n in numbers), *(closed(f"c{n}", SECOND) for n in numbers), at=SECOND)
    state = rig.ledger.changes()
    assert len(state.errors["s"]) - sum(each is None for each in state.errors["s"].values()) == 500
    assert sum(each is not None for each in state.held["s"].values()) == 500
    blocks = [block for block in state.streams["s"].values() if block is not None]
    assert 500 - 128 < sum(len(block.times) for block in blocks) <= 500
    rig.post(error("t2499", SECOND, "plugin"), error("t0", SECOND, "plugin"), at=SECOND)
    assert rig.failed() == {("/v1/chat-messages", "stream_error"): 1}
    rig.clock.now += 10
    assert rig.runs() == {("unknown", "unknown", "finished"): 2500}


def test_requests_that_have_failed_leave_nothing_behind() -> None:
    rig = Rig()
    for number in range(500):
        rig.post(accepted(f"t{number}", number, ("stream_error", "run_failed")[number % 2]), at=number)
        rig.post(error(f"t{number}", number, "run"), at=number)
    assert sum(rig.failed().values()) == 500
    assert not any(rig.ledger.changes().streams["s"].values())


OTHER_ROUTE = "/v1/completion-messages"


@pytest.mark.parametrize("together", [True, False], ids=["in one window", "one by one"])
@pytest.mark.parametrize(
    ("facts", "count"),
    [
        ([(0, "ok"), (10, "error"), (20, "ok"), (30, "error"), (40, "ok"), (50, "error")], 3),  # one after the other
        ([(0, "ok"), (1, "ok"), (2, "ok"), (50, "error"), (51, "error"), (52, "error")], 3),  # at once
        ([(0, "ok"), (10, "error"), (20, "ok")], 1),  # the client tries again in the same trace
        ([(0, "ok"), (10, "error"), (10, "error"), (10, "error")], 1),
        ([(0, "ok"), (20, "ok"), (20, "ok"), (10, "error")], 1),
        ([(20, "ok"), (20, "ok"), (10, "error")], 0),
        ([(n, "ok") for n in range(300)] + [(400, "error")] * 5, 5),
        ([(0, "ok"), (0, "other"), (10, "error"), (11, "error"), (12, "error")], 2),
    ],
)
def test_requests_of_one_trace_fail_one_by_one(facts: list[tuple[int, str]], count: int, together: bool) -> None:
    """A traced client sends one `traceparent` with many requests; access lines of a window come before its errors."""
    rig, records = Rig(), list[b.Record]()
    for route, word in (("/v1/chat-messages", "ok"), (OTHER_ROUTE, "other")):
        times = [iso_of(BEGUN + at * MILLISECOND) for at, what in facts if what == word]
        if together and times:
            records.append(b.Accepted(route, "stream_error", "\n".join(["t"] * len(times)), "\n".join(times)))
    for at, what in facts:
        if what == "error":
            records.append(error("t", at * MILLISECOND, "plugin"))
        elif not together:
            route = "/v1/chat-messages" if what == "ok" else OTHER_ROUTE
            records.append(b.Accepted(route, "stream_error", "t", iso_of(BEGUN + at * MILLISECOND)))
    if together:
        rig.post(*records, at=SECOND)
    else:
        for record in records:
            rig.post(record, at=SECOND)
    assert sum(rig.failed().values()) == count


@pytest.mark.parametrize("together", [True, False], ids=["in one window", "one by one"])
def test_an_error_that_was_read_first_fails_one_request_of_its_trace(together: bool) -> None:
    rig = Rig()
    rig.post(error("t", 0, "run"), at=0)
    if together:
        names, times = "\n".join("tut"), "\n".join(iso_of(BEGUN + n) for n in range(3))
        rig.post(b.Accepted("/v1/workflows/run", "run_failed", names, times), at=SECOND)
    else:
        for number in range(3):
            rig.post(accepted("t", number, "run_failed"), at=SECOND)
    assert sum(rig.failed().values()) == 1


def test_requests_of_one_trace_survive_a_restart_and_stay_bounded() -> None:
    rig = Rig(open_joins=1000)
    for begin in range(0, 3000, 100):
        times = "\n".join(iso_of(BEGUN + n) for n in range(begin, begin + 100))
        rig.post(b.Accepted("/v1/chat-messages", "stream_error", "\n".join(["t"] * 100), times), at=SECOND)
    state = State()
    state.update(msgspec.msgpack.decode(msgspec.msgpack.encode(rig.ledger.changes()), type=State))
    assert sum(len(block.times) for block in state.streams["s"].values() if block is not None) <= 1000
    rig.ledger = Ledger(rig.limits, rig.clock)
    rig.ledger.restore(state, ["s"])
    rig.post(*(error("t", SECOND + n, "plugin") for n in range(3)), at=SECOND)
    assert sum(rig.failed().values()) == 3


def test_a_failed_node_of_a_run_in_the_same_trace_does_not_fail_the_request() -> None:
    """api and worker in one source, with OpenTelemetry: a chatflow that catches the error of a node succeeds in part."""
    for level, failed, status in (("plugin", {}, "partial-succeeded"), ("run", 1, "failed")):
        rig = Rig()
        rig.post(accepted("t", 0), opened("t", MILLISECOND), at=0)
        rig.post(error("t", SECOND, level), closed("t", SECOND), at=SECOND)
        rig.post(at=60 * SECOND)
        assert rig.failed() == ({("/v1/chat-messages", "stream_error"): failed} if failed else {})
        assert rig.runs() == {("workflow", APP, status): 1}


def test_a_trace_id_for_everything_fails_each_request_at_most_once() -> None:
    rig = Rig()
    for number in range(10):
        rig.post(accepted("t", number), at=number)
    for number in range(1000):
        rig.post(error("t", SECOND + number, "plugin"), at=SECOND + number)
    assert 1 <= rig.failed()["/v1/chat-messages", "stream_error"] <= 10


def test_all_that_is_held_is_final_at_the_end_of_a_replay() -> None:
    rig = Rig()
    rig.ledger.enter(
        "s", b.Batch(records=(opened("t"), closed("t", SECOND), error("t", SECOND)), last_at=BEGUN + SECOND)
    )
    counted = rig.ledger.snapshot(None).counters[c.RUNS]
    assert counted == {("s", "workflow", APP, "failed"): 1}


class _Story:
    """Runs and requests with known outcomes, as lines of one log: the time of each, and its record."""

    def __init__(self, rng: random.Random) -> None:
        self.lines = list[tuple[int, b.Record]]()
        self.runs, self.failed = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
        for number in range(rng.randrange(1, 12)):
            begun = rng.randrange(0, 20 * SECOND, MILLISECOND)
            ended = begun + rng.randrange(100 * MILLISECOND, 10 * SECOND, MILLISECOND)
            (self._run if rng.random() < 0.6 else self._stream)(rng, f"t{number}", begun, ended)

    def _run(self, rng: random.Random, name: str, begun: int, ended: int) -> None:
        status = rng.choice(["finished", "failed", "partial-succeeded"])
        self.lines += [(begun, opened(name, begun)), (ended, closed(name, ended))]
        if status != "finished":
            at = rng.randrange(begun, ended)
            self.lines.append((at, error(name, at, rng.choice(["plugin", "node"]))))
        if status == "failed":
            at = ended + rng.randrange(-50, 60) * MILLISECOND
            self.lines.append((at, error(name, at, "run")))
        self.runs["workflow", APP, status] += 1

    def _stream(self, rng: random.Random, name: str, begun: int, ended: int) -> None:
        failure = rng.choice(["stream_error", "run_failed"])
        request = accepted(name, begun, failure)
        self.lines.append((begun, request))
        at, level = rng.choice([(ended, "run"), (ended, "plugin"), (begun - MILLISECOND, "plugin"), (ended, "node")])
        self.lines.append((at, error(name, at, level)))
        if at == ended and (level == "run" or (level, failure) == ("plugin", "stream_error")):
            self.failed[request.route, failure] += 1


@given(st.randoms(use_true_random=False))
def test_any_order_within_two_seconds_and_any_cut_gives_the_same(rng: random.Random) -> None:
    story = _Story(rng)
    lines = sorted(story.lines, key=lambda line: line[0] + rng.randrange(0, 1900) * MILLISECOND)
    rig = Rig()
    begin = 0
    while begin < len(lines):
        end = begin + rng.randrange(1, 6)
        part = lines[begin:end]
        rig.post(*(record for _, record in part), at=max(at for at, _ in part))
        if rng.random() < 0.3:
            rig.ledger.changes()
        begin = end
    rig.post(at=60 * SECOND)
    assert rig.runs() == story.runs
    assert rig.failed() == story.failed


def test_without_a_state_no_run_leaves_a_trace_of_what_has_changed() -> None:
    rig = Rig()
    rig.ledger = Ledger(rig.limits, rig.clock, is_stored=False)
    for number in range(1000):
        trace_id = f"{number:032x}"
        rig.post(b.Opened(trace_id, "workflow", APP, BEGUN + number), b.Closed(trace_id, "finished", 1, BEGUN + number))
        rig.post(b.TraceError(f"{number:032d}", "run", BEGUN + number))
    rig.ledger.snapshot(None)
    rig.post(at=0)
    changed = rig.ledger.changes()
    assert (changed.waiting, changed.held, changed.errors, changed.streams) == ({}, {}, {}, {})


@pytest.mark.parametrize("order", [("ahead", "old"), ("old", "ahead")])
def test_a_run_is_not_lost_while_another_file_is_days_ahead(order: tuple[str, ...]) -> None:
    rig = Rig()
    for name in order:
        if name == "ahead":
            rig.post(at=0, file="ahead")
        else:
            rig.post(b.Opened("t", "workflow", APP, BEGUN - 5 * DAY), at=-5 * DAY, file="old")
    rig.post(at=1, file="ahead")
    rig.post(b.Closed("t", "finished", SECOND, BEGUN - 5 * DAY + SECOND), at=-5 * DAY + SECOND, file="old")
    rig.post(at=-4 * DAY, file="old")
    assert rig.runs() == {("workflow", APP, "finished"): 1}


def test_a_run_is_lost_when_all_files_that_are_read_are_a_day_later() -> None:
    rig = Rig()
    rig.post(b.Opened("t", "workflow", APP, BEGUN - 5 * DAY), at=-5 * DAY, file="old")
    rig.post(at=0, file="ahead")
    assert rig.runs() == {}
    rig.clock.now += 61
    rig.post(at=1, file="ahead")
    assert rig.runs() == {("workflow", APP, "lost"): 1}, "the old file is not read any more"


def test_a_replay_of_one_file_after_the_other_loses_no_run() -> None:
    rig = Rig()
    rig.ledger.enter("s", b.Batch(1, 1, last_at=BEGUN))
    rig.ledger.enter(
        "s", b.Batch(1, 1, records=(b.Opened("t", "workflow", APP, BEGUN - 5 * DAY),), last_at=BEGUN - 5 * DAY)
    )
    end = BEGUN - 5 * DAY + SECOND
    rig.ledger.enter("s", b.Batch(1, 1, records=(b.Closed("t", "finished", SECOND, end),), last_at=end))
    runs = {labels[1:]: count for labels, count in rig.ledger.snapshot(None).counters[c.RUNS].items() if count}
    assert runs == {("workflow", APP, "finished"): 1}
