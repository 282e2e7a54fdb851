"""Reading telemetry events as a block or line by line gives the same, whatever else the block contains."""

import json
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import field, structs

from parsers import blocks as block
from parsers.batch import UNKNOWN, NodeRun, Record, Usage, UsageMissing
from parsers.blocks import TimedLine
from parsers.dify import Dify
from parsers.dify.events import EventReader
from parsers.dify.sums import EventSums
from parsers.dify.telemetry import TABLE, CountRule, EventFacts, Price, Seconds, TelemetryEvent, Text
from parsers.dify.usages import costs_of, total
from parsers.values.numbers import money
from tests.parsers.laws import summed

PARSER = Dify()
LLM = {
    "dify.event.name": "dify.node.execution",
    "dify.app_id": "8b0e7153-bf7c-4370-a6d8-5c524e440066",
    "dify.node.type": "llm",
    "dify.node.status": "succeeded",
    "dify.node.elapsed_time": 1.25,
    "gen_ai.usage.input_tokens": 1622,
    "gen_ai.usage.output_tokens": 225,
    "gen_ai.usage.total_tokens": 1847,
    "gen_ai.provider.name": "langgenius/openai/openai",
    "gen_ai.request.model": "gpt-4.1",
    "dify.node.total_price": "0.0050440",
    "dify.node.currency": "USD",
}
#: An event of each kind that has records, in one of the generations.
EVENTS = [
    LLM,
    {
        "dify.event.name": "dify.node.execution.draft", "dify.app_id": LLM["dify.app_id"], "dify.node.type": "llm",
        "dify.node.status": "succeeded", "dify.node.elapsed_time": 2.5, "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4, "gen_ai.request.model": "gpt-4.1", "dify.cost.currency": "USD",
        "dify.usage": {"total_price": "0.0078920", "currency": "EUR"}, "dify.span.name": "Answer attempt 1",
        "dify.node.attempt": None, "dify.trace.links": [], "metrics_from_parent": None, "gen_ai.usage.total_tokens": 7,
    },
    {"dify.event.name": "dify.node.execution", "dify.node.type": "start", "gen_ai.usage.total_tokens": None},
    {
        "dify.event.name": "dify.workflow.run", "dify.app_id": LLM["dify.app_id"], "dify.workflow.elapsed_time": 3.5,
        "dify.workflow.status": "succeeded", "gen_ai.usage.total_tokens": 7, "dify.conversation.id": None,
    },
    {
        "dify.event.name": "dify.message.run", "dify.app_id": LLM["dify.app_id"], "dify.message.status": "normal",
        "dify.conversation.mode": "chat", "dify.message.duration": 2, "dify.message.time_to_first_token": 0.25,
        "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 6, "gen_ai.request.model": "gpt-4.1", "dify.workflow.run_id": None,
    },
    {
        "dify.event.name": "dify.prompt_generation.execution", "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 6, "dify.prompt_generation.total_price": "0.0012400",
        "dify.prompt_generation.currency": "USD", "dify.prompt_generation.operation_type": "rule_generate",
    },
    {"dify.event.name": "dify.suggested_question.generation", "gen_ai.usage.total_tokens": 77},
    {"dify.event.name": "dify.dataset.retrieval"},
]  # fmt: skip
UNCOUNTED = ["dify.tool.execution", "dify.dataset.retrieval", "dify.moderation.check"]
#: Other values of attributes. Generations A and B also write None where there is no value.
ODD = {
    "dify.event.name": [None, *[event["dify.event.name"] for event in EVENTS], *UNCOUNTED, 5],
    "dify.app_id": [None, "no uuid", "01234567-89ab-cdef-0123-456789abcdef", []],
    "dify.node.type": [None, "tool", "loop", "start", "nonsense", {}],
    "dify.node.status": [None, "failed", "nonsense"],
    "dify.node.elapsed_time": [None, 0, 7, -1, "1.5", 1e300, 0.0000000015],
    "dify.workflow.status": [None, "failed", 5],
    "dify.workflow.elapsed_time": [None, 0.5, "1"],
    "dify.workflow.run_id": [None, "", "559a6656", "559a6657", 0],
    "dify.conversation.id": [None, "", "333766bd", "333766be", []],
    "dify.message.id": [None, "", "333766bd"],
    "dify.conversation.mode": [None, "completion", "nonsense", []],
    "dify.message.status": [None, "error"],
    "dify.message.duration": [None, 0.75, -1],
    "dify.message.time_to_first_token": [None, 0.125, True],
    "gen_ai.usage.input_tokens": [None, 0, 7, -1, 1.0, "7", 10**13, 10**40],
    "gen_ai.usage.output_tokens": [None, 0, 7, True],
    "gen_ai.usage.total_tokens": [None, 0, 7, 1846, 10**12],
    "gen_ai.provider.name": [None, "", 5],
    "gen_ai.request.model": [None, "", "gpt-4.1-mini", "\ud800"],
    "dify.node.total_price": [None, "0", "-1", "NaN", "1e-15", "", 0.5, 1, True, "1E+3", "0.1234567890123", 1e17, 1e-7, "0.5,0.5"],
    "dify.node.currency": [None, "", "RMB", "XXX"],
    "dify.cost.currency": [None, "EUR"],
    "dify.usage": [None, {"total_price": "3", "currency": "JPY"}, {"total_price": 0.5}, {"currency": "JPY"}, {}, "?"],
    "dify.usage.total_price": [None, "4"],
    "dify.usage.currency": [None, "INR"],
    "dify.prompt_generation.total_price": [None, "5"],
    "dify.prompt_generation.currency": [None, "", "GBP"],
    "dify.prompt_generation.operation_type": [None, "llm", "rule_generate", 5],
    "dify.span.name": [None, "Answer", "Answer attempt 1", "Answer attempt 2", 5],
    "dify.node.attempt": [None, 0, 1, "0"],
    "dify.trace.links": [None, [], ["x"], "x"],
    "metrics_from_parent": [None, True, False, "x"],
    "dify.error": ["a\nb", "\ud800", [[[]]], 10**400],
}  # fmt: skip
TIMES = ["2026-11-23T08:53:00.142Z"] * 5 + [
    "2026-11-23T08:59:59.999Z", "2026-11-23T09:00:00.000Z", "2026-11-23T08:53:60.000Z", "2026-13-23T08:53:00.142Z",
    "2026-11-23T08:60:00.142Z", "2026-11-23T08:53:00.142+08:00", "2026-11-23T08:53:00.14", "2026-11-23T25:53:00.142Z",
    "Z2026-11-23T08:53:00.142Z", "2026-11-23T08:53:00.1423", "２026-11-23T08:53:00.142Z", "2026-02-30T08:53:00.142Z", "2026-11-23 08:53:00", "",
]  # fmt: skip
OTHERS = [
    b"\n", b"Traceback (most recent call last):\n", b"{}\n", b"{\n", b'{"ts":"2026-11-23T08:53:00.142Z","message":"\xff"}\n',
    b'{"ts":"2026-11-23T08:53:00.142Z","severity":"ERROR","message":"boom"}\r\n', b"[1]\n", b'{"ts":5,"message":"telemetry.x"}\n',
]  # fmt: skip


@st.composite
def marred(draw: st.DrawFn, line: bytes) -> bytes:
    """Return the line, mostly unchanged, sometimes changed by a shipper, a crash or an attacker."""
    if draw(st.integers(0, 29)):
        return line + b"\n"
    inner = draw(st.sampled_from(sorted(ODD))).encode()
    return draw(
        st.sampled_from(
            [
                line + b"\r\n",
                b" " + line + b"\n",
                b"\t" + line + b" \n",
                b"\xef\xbb\xbf" + line + b"\n",
                b"\r" + line + b"\n",
                line + line + b"\n\n",
                line[:-1] + b"\n}\n",
                line + b",\n",
                line[:50] + b"\xff" + line[50:] + b"\n",
                line[:-2] + b',"x":NaN}}\n',
                line[:-2] + b',"x":-Infinity}}\n',
                line[:-2] + b',"x":1e400}}\n',
                line[:-2] + b',"x":' + b"9" * 5000 + b"}}\n",
                line[:-2] + b',"x":"\xff"}}\n',
                line[:-2] + b',"x":"\\q"}}\n',
                line[:-2] + b',"x":"\\ud800"}}\n',
                line[:-2] + b',"\xff":1}}\n',
                line[:-2] + b',"x":01}}\n',
                line[:-2] + b',"' + inner + b'":null}}\n',
                line[:-2] + b',"' + inner + b'":1e400}}\n',
                line[:-2] + b',"' + inner + b'":"x"}}\n',
                line[:-2] + b',"\\u0064' + inner[1:] + b'":2}}\n',
                line[:-1] + b',"ts":"2026-11-23T08:53:01.000Z"}\n',
                line[:-1] + b',"attributes":null}\n',
                line[:-1] + b',"attributes":{}}\n',
                line[:-1] + b',"ts":5}\n',
                line[:-1] + b',"trace_id":1e999}\n',
                line[:-1] + b',"message":"telemetry.\\u0073pan_detail"}\n',
                line[:-1],
                b"\n" + line + b"\n",
            ]
        )
    )


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """Return lines that differ in a few attributes only, so that some of them can be summed up."""
    events = draw(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=2))
    names = draw(
        st.lists(st.sampled_from(sorted(events[0].keys() & ODD.keys())) | st.sampled_from(sorted(ODD)), max_size=3)
    )
    changes = {name: draw(st.sampled_from(ODD[name])) for name in names}
    times = [TIMES[0], *draw(st.lists(st.sampled_from(TIMES), max_size=1))]
    separators = draw(st.sampled_from([None, (",", ":")]))

    @st.composite
    def lines(draw: st.DrawFn) -> bytes:
        if draw(st.integers(0, 40)) == 0:
            return draw(st.sampled_from(OTHERS))
        changed = draw(st.sets(st.sampled_from(names))) if names else set()
        line = {
            "ts": draw(st.sampled_from(times)),
            "severity": "INFO",
            "message": draw(st.sampled_from(["telemetry.span_detail"] * 19 + ["telemetry.more", "no telemetry"])),
            "attributes": draw(st.sampled_from(events)) | {name: changes[name] for name in changed},
        }
        return draw(marred(json.dumps(line, separators=separators).encode()))

    return b"".join(draw(st.lists(lines(), min_size=1, max_size=12)))


@settings(max_examples=4 * settings.default.max_examples)
@given(log=logs())
def test_a_block_is_the_sum_of_its_lines(log: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "MANY", 1)
        patch.setattr(block, "PART", 2000)  # a few lines
        found = PARSER.parse(log, final=True)
        patch.setattr(block, "MANY", len(log) + 1)
        plain = PARSER.parse(log, final=True)
    assert summed([found]) == summed([plain])
    assert found.examples == plain.examples


def test_nodes_with_equal_labels_are_one_record() -> None:
    """Otherwise the test above would also hold for a reader of blocks that leaves all lines to the reader of single lines."""
    line = {"ts": TIMES[0], "severity": "INFO", "message": "telemetry.span_detail", "attributes": LLM}
    batch = PARSER.parse((json.dumps(line).encode() + b"\n") * 100)
    assert [(type(record), record.count) for record in batch.records] == [(NodeRun, 100), (Usage, 100)]
    assert batch.records[1].input_tokens == 162_200


class Poll(TelemetryEvent, frozen=True, gc=False, tag="dify.poll.execution"):
    """An event that Dify does not have."""

    status: Text = field(default=None, name="dify.poll.status")
    duration: Seconds = field(default=None, name="dify.poll.time")
    price: Price = field(default=None, name="dify.poll.total_price")

    @staticmethod
    def counts(facts: EventFacts) -> CountRule:
        return CountRule(NodeRun("poll", facts.status or "none"), has_usage=True, needs_usage=facts.status == "done")


class _PollLine(TimedLine, frozen=True, gc=False, kw_only=True):
    message: str


def test_both_readers_read_an_event_added_to_the_table() -> None:
    readers = EventReader((*TABLE, Poll), _PollLine, b'"telemetry.', EventSums)
    polls = [
        {"dify.poll.status": status, "dify.poll.time": time, "dify.poll.total_price": "0.25", "gen_ai.usage.total_tokens": total}
        for status, time, total in (("done", 0.5, 4), ("done", 1.5, 5), ("done", 2.5, None), (None, None, 7))
    ]  # fmt: skip
    attributes = [{"dify.event.name": "dify.poll.execution", **poll} for poll in polls * 5]
    lines = [{"ts": TIMES[0], "message": "telemetry.span_detail", "attributes": each} for each in attributes]
    found = readers.read(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    assert (found.lines, found.rest) == (20, b"")
    alone = [readers.records(json.dumps(each).encode(), None) for each in attributes]
    assert sum(isinstance(record, NodeRun) for records in alone for record in records) == 20
    assert totals(found.records) == totals([record for records in alone for record in records])
    assert totals(found.records)[NodeRun, "done"] == (15, 5 * 4_500_000_000)
    assert totals(found.records)[UsageMissing, "absent"] == (5, 0)
    assert totals(found.records)[Usage, UNKNOWN] == (20, 5 * 16)


def totals(records: Sequence[Record]) -> dict[tuple[type, str], tuple[int, int]]:
    """Return the number of records of each kind, and the sum of their nanoseconds or tokens."""
    sums: dict[tuple[type, str], tuple[int, int]] = {}
    for record in records:
        label = getattr(record, "status", "") or getattr(record, "reason", "") or UNKNOWN
        amount = sum(getattr(record, "durations", ())) + (getattr(record, "duration", 0) or 0)
        amount += getattr(record, "unsplit_tokens", 0) or 0
        before = sums.get((type(record), label), (0, 0))
        sums[type(record), label] = before[0] + getattr(record, "count", 1), before[1] + amount
    return sums


def test_every_attribute_of_the_table_is_tested_with_wrong_values() -> None:
    """Otherwise a rule for a new attribute could work in only one of the readers."""
    named = {each.encode_name for kind in TABLE for each in structs.fields(kind)}
    assert named <= ODD.keys()
    assert {kind.__struct_config__.tag for kind in TABLE} <= {*ODD["dify.event.name"], *UNCOUNTED}


@pytest.mark.parametrize("total", [0, 1846])
@pytest.mark.parametrize("tokens", [0, 1622])
def test_an_irregular_node_does_not_affect_another_quarter(
    tokens: int, total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    irregular = LLM | dict.fromkeys(("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"), tokens)
    log = b"".join(
        json.dumps({"ts": f"2026-11-23T08:{minute}:00.142Z", "message": "telemetry.span_detail", "attributes": node}).encode() + b"\n"
        for minute, node in ((44, irregular | {"gen_ai.usage.total_tokens": total}), (45, LLM))
    )  # fmt: skip
    monkeypatch.setattr(block, "MANY", 1)
    found = summed([PARSER.parse(log, final=True)])
    monkeypatch.setattr(block, "MANY", len(log) + 1)
    assert found == summed([PARSER.parse(log, final=True)])


@given(
    prices=st.lists(
        st.decimals(0, 900, allow_nan=False, places=7).map(str)
        | st.decimals(0, 10, places=12).map(str)
        | st.floats(0, 1e6)
        | st.sampled_from(
            ["0E-7", "5E-7", " 1", "1,1", "", "007.5", "+1", "1_0", ".5", "5.", "-0", "-1", "NaN", "1e14"]
        ),
        min_size=1,
        max_size=8,
    )
)
def test_a_sum_of_prices_is_exact(prices: list[str | float]) -> None:
    amounts, costs = [money(price) for price in prices], costs_of(prices)
    assert (costs is None) == (None in amounts)
    assert costs is None or total(costs) == sum(each for each in amounts if each is not None)


def test_prices_of_dify_are_summed_in_columns() -> None:
    assert total(costs_of(["0.0012890", "5E-7", 0.006442])) == Decimal("0.0077315")
    assert total(costs_of(["0.0012890", "12.0000001"])) == Decimal("12.0012891")
    assert total(costs_of(["0.0000001", "123456789.123"] * 1000)) == Decimal("123456789123.0001")
