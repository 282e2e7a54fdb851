"""The requests of a real Dify's tracing give the tokens, prices, runs and nodes of its books, however they arrive."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from exporter import catalogue as c
from exporter.ledger.snapshot import Snapshot
from tests.parsers.tracing.writer import Writer, counted, tokens
from tests.real_dify.trace_requests import BOOKS, CHANNELS, TraceRequest, in_pieces, requests

#: The statuses of messages and native runs in the books' words: a stopped message is sent as a normal one.
_MESSAGES = {"succeeded": "normal", "stopped": "normal"}
_NATIVE = {"succeeded": "finished", "partial-succeeded": "finished"}


def as_sent(found: Sequence[TraceRequest]) -> list[TraceRequest]:
    return list(found)


def twice(found: Sequence[TraceRequest]) -> list[TraceRequest]:
    return [request for each in found for request in (each, each)] + list(found)


def shuffled(found: Sequence[TraceRequest]) -> list[TraceRequest]:
    """Each request is late by up to five seconds."""
    chance = random.Random(7)
    return sorted(found, key=lambda request: request.t + chance.uniform(0, 5))


def one_by_one(found: Sequence[TraceRequest]) -> list[TraceRequest]:
    """Each item comes in a request of its own, late by up to five seconds."""
    return shuffled([piece for request in found for piece in in_pieces(request)])


WAYS = [as_sent, twice, shuffled, one_by_one]
Way = Callable[[Sequence[TraceRequest]], list[TraceRequest]]


@cache
def snapshot_of(channel: str, way: Way = as_sent) -> Snapshot:
    writer = Writer()
    for request in way(requests(channel)):
        writer.take(request.read())
    writer.wait()
    return counted(writer.lines)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("way", WAYS)
def test_each_token_counts_once_for_its_app_and_model(channel: str, way: Way) -> None:
    wanted = {}
    for row in BOOKS[channel]["tokens_that_this_channel_shows"]:
        wanted[row["app_id"], row["model"], "input"] = row["input"]
        wanted[row["app_id"], row["model"], "output"] = row["output"]
    assert tokens(snapshot_of(channel, way)) == wanted


@pytest.mark.parametrize("channel", CHANNELS)
def test_prices_are_those_of_the_books_to_the_last_digit(channel: str) -> None:
    found: Counter[tuple[str, str]] = Counter()
    for (_, app_id, _, _, currency, basis), cost in snapshot_of(channel, twice).counters[c.COST].items():
        assert basis == "reported"
        found[app_id, currency] += cost  # type: ignore[assignment]  # Decimal
    app_ids = {row["app"]: row["app_id"] for row in BOOKS[channel]["tokens_that_this_channel_shows"]}
    wanted = {
        (app_ids[row["app"]], row["currency"]): Decimal(str(row["price"]))
        for row in BOOKS[channel]["node_price_by_app"]
    }
    if channel in ("langfuse", "both"):
        wanted |= {(app, "unknown"): Decimal(price) for app, price in BOOKS[channel]["message_price_by_app"].items()}
    assert dict(found) == wanted


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("way", WAYS)
def test_each_run_counts_once(channel: str, way: Way) -> None:
    wanted: Counter[tuple[str, str]] = Counter()
    for row in BOOKS[channel]["runs"]:
        if row["sent"]:
            wanted[row["kind"], _status_of(channel, row["kind"], row["outcome"])] += row["n"]
    for row in BOOKS[channel]["other_runs_in_database"]:
        wanted["workflow", _status_of(channel, "workflow", row["status"])] += 1
    found: Counter[tuple[str, str]] = Counter()
    for (_, kind, _, status), count in snapshot_of(channel, way).counters[c.RUNS].items():
        found[kind, status] += int(count)
    if channel == "both":  # the channel whose request comes first decides the status
        found, wanted = _by_kind(found), _by_kind(wanted)
    assert found == wanted


def _status_of(channel: str, kind: str, outcome: str) -> str:
    if kind in ("chat", "completion", "agent-chat"):
        return _MESSAGES.get(outcome, outcome)
    return _NATIVE.get(outcome, outcome) if channel == "native" else outcome


def _by_kind(runs: Counter[tuple[str, str]]) -> Any:
    found: Counter[str] = Counter()
    for (kind, _), count in runs.items():
        found[kind] += count
    return found


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("way", WAYS)
def test_each_node_counts_once(channel: str, way: Way) -> None:
    wanted: Counter[tuple[str, str]] = Counter()
    for row in BOOKS[channel]["nodes_by_app_type_status"]:
        if row["sent"]:
            wanted[row["type"], "unknown" if channel == "native" else row["status"]] += row["n"]
    found: Counter[tuple[str, str]] = Counter()
    for (_, node_type, status), count in snapshot_of(channel, way).counters[c.NODE_RUNS].items():
        found[node_type, status] += int(count)
    if channel == "both":
        found, wanted = _by_kind(found), _by_kind(wanted)
    assert found == wanted


@pytest.mark.parametrize("channel", CHANNELS)
def test_nothing_counts_again_after_a_restart(channel: str) -> None:
    """The keys are found again in the log, so Dify may send the same requests to the next process."""
    before = Writer()
    for request in requests(channel):
        before.take(request.read())
    after = Writer(before.lines)
    for request in requests(channel):
        after.take(request.read())
    assert after.lines == before.lines


@pytest.mark.parametrize("channel", CHANNELS)
def test_no_text_of_a_user_is_in_a_line(channel: str) -> None:
    """Every question begins with RID, every answer consists of words w0, w1, ..."""
    writer = Writer()
    for request in requests(channel):
        writer.take(request.read())
    log = b"".join(writer.lines)
    for text in (b"RID", b"w0", b"helpful", b"user-", b"PluginInvokeError", b"/app/"):
        assert text not in log
