"""A flood of values that count the same gives few records, and a flood of distinct values costs few calls per line."""

from collections.abc import Callable

import pytest

from benchmarks.floods import FLOODS
from benchmarks.options import OPTIONS
from parsers.batch import Batch, Invocation, NodeRun, Request, Run
from parsers.parser import registered
from tests.work import calls_of

pytestmark = pytest.mark.system  # many combinations

LINES = 1000


def block_of(name: str) -> tuple[Callable[[bytes], Batch], bytes]:
    flood = FLOODS[name]
    parser, options = OPTIONS[flood.corpus]
    return registered()[parser](**options).parse, b"".join(flood.lines(LINES, LINES))


@pytest.mark.parametrize(
    ("name", "kind", "most"),
    [
        ("telemetry call: node type", NodeRun, 1),
        ("telemetry call: status", NodeRun, 1),
        ("telemetry message: mode", Run, 30),  # one for each app
        ("telemetry message: status", Run, 30),
        ("receiver: mode", Run, 30),
        ("receiver: node type", NodeRun, 1),
        ("plugin daemon gin: operation", Invocation, 6),  # by status and unit
        ("plugin daemon text: operation", Invocation, 2),
        ("plugin daemon JSON: operation", Invocation, 2),
        ("worker text: operation", Invocation, 1),
        ("worker JSON: operation", Invocation, 1),
        ("proxy: route", Request, 6),  # by method and status
        ("proxy: method", Request, 8),
        ("nginx: path", Request, 40),
        ("nginx: method", Request, 60),
    ],
)
def test_values_that_count_the_same_are_one_record(name: str, kind: type, most: int) -> None:
    parse, block = block_of(name)
    batch = parse(block)
    found = sum(type(record) is kind for record in batch.records)
    assert batch.observed == LINES
    assert 0 < found <= most


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("telemetry call: app", 4),
        ("telemetry call: node type", 17),
        ("telemetry call: status", 17),
        ("telemetry message: app", 10),
        ("telemetry message: mode", 22),
        ("proxy: app", 20),
        ("proxy: app, model", 25),
        ("receiver: app, model", 13),
        ("receiver: mode", 21),
        ("worker text: task", 12),
        ("plugin daemon gin: operation", 6),
    ],
)
def test_a_line_of_a_distinct_value_costs_few_calls(name: str, most: int) -> None:
    parse, block = block_of(name)
    parse(block)  # the first call also compiles patterns
    calls = calls_of(lambda: parse(block))
    assert calls / LINES < most, calls
