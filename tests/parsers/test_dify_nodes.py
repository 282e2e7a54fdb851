"""Nodes read as a block are the nodes read line by line, whatever else the block holds."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.batch import NodeRun, Usage
from parsers.dify import Dify, nodes
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
#: What an attribute may be instead; None is also what generations A and B write for nothing.
ODD = {
    "dify.event.name": [None, "dify.node.execution.draft", "dify.workflow.run", "dify.message.run", 5],
    "dify.app_id": [None, "no uuid", "01234567-89ab-cdef-0123-456789abcdef", []],
    "dify.node.type": [None, "tool", "loop", "start", "nonsense", {}],
    "dify.node.status": [None, "failed", "nonsense"],
    "dify.node.elapsed_time": [None, 0, 7, -1, "1.5", 1e300, 0.0000000015],
    "gen_ai.usage.input_tokens": [None, 0, 7, -1, 1.0, "7", 10**13],
    "gen_ai.usage.output_tokens": [None, 0, 7, True],
    "gen_ai.usage.total_tokens": [None, 0, 1846, 10**12],
    "gen_ai.provider.name": [None, ""],
    "gen_ai.request.model": [None, "", "gpt-4.1-mini", "\ud800"],
    "dify.node.total_price": [None, "0", "-1", "NaN", "1e-15", "", 0.5, "1E+3", "0.1234567890123"],
    "dify.node.currency": [None, "", "RMB", "XXX"],
    "dify.cost.currency": [None, "EUR"],
    "dify.usage": [None, {"total_price": "3", "currency": "JPY"}, "?"],
    "dify.usage.total_price": [None, "4"],
    "dify.usage.currency": [None, "INR"],
    "dify.prompt_generation.currency": [None, "", "GBP"],
    "dify.span.name": [None, "Answer", "Answer attempt 1", "Answer attempt 2", 5],
    "dify.node.attempt": [None, 0, 1, "0"],
    "dify.trace.links": [None, [], ["x"], "x"],
    "metrics_from_parent": [None, True, False, "x"],
}
TIMES = ["2026-11-23T08:53:00.142Z"] * 5 + [
    "2026-11-23T08:59:59.999Z", "2026-11-23T09:00:00.000Z", "2026-11-23T08:53:60.000Z", "2026-13-23T08:53:00.142Z",
    "2026-11-23T08:60:00.142Z", "2026-11-23T08:53:00.142+08:00", "2026-11-23 08:53:00", "",
]  # fmt: skip
OTHERS = [
    b"\n", b"Traceback (most recent call last):\n", b"{}\n", b"{\n", b'{"ts":"2026-11-23T08:53:00.142Z","message":"\xff"}\n',
    b'{"ts":"2026-11-23T08:53:00.142Z","severity":"ERROR","message":"boom"}\r\n', b"[1]\n", b'{"ts":5,"message":"telemetry.x"}\n',
]  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 40)) == 0:
        return draw(st.sampled_from(OTHERS))
    attributes = dict(LLM)
    if draw(st.booleans()):
        for name in draw(st.lists(st.sampled_from(sorted(ODD)), max_size=4)):
            attributes[name] = draw(st.sampled_from(ODD[name]))
            if draw(st.booleans()):
                del attributes[name]
    ts = draw(st.sampled_from(TIMES)) if draw(st.integers(0, 9)) == 0 else TIMES[0]
    message = draw(st.sampled_from(["telemetry.span_detail"] * 9 + ["no telemetry"]))
    line = {"ts": ts, "severity": "INFO", "message": message, "attributes": attributes}
    return json.dumps(line).encode() + b"\n"


@settings(max_examples=300)
@given(log=st.lists(lines(), min_size=1, max_size=12).map(b"".join), part=st.sampled_from([1, 1000, 1 << 20]))
def test_a_block_is_the_sum_of_its_lines(log: bytes, part: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "_PART", part)
        patch.setattr(nodes, "_MANY", 1)
        found = PARSER.parse(log, final=True)
        patch.setattr(nodes, "_MANY", len(log))
        plain = PARSER.parse(log, final=True)
    assert summed([found]) == summed([plain])
    assert found.examples == plain.examples


def test_nodes_with_equal_labels_are_one_record() -> None:
    """Else the law above would hold for a block that leaves everything to the plain way."""
    line = {"ts": TIMES[0], "severity": "INFO", "message": "telemetry.span_detail", "attributes": LLM}
    batch = PARSER.parse((json.dumps(line).encode() + b"\n") * 100)
    assert [(type(record), record.count) for record in batch.records] == [(NodeRun, 100), (Usage, 100)]
    assert batch.records[1].input_tokens == 162_200


@pytest.mark.parametrize("total", [0, 1846])
@pytest.mark.parametrize("tokens", [0, 1622])
def test_an_odd_node_says_nothing_about_another_quarter(
    tokens: int, total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = LLM | dict.fromkeys(("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"), tokens)
    log = b"".join(
        json.dumps({"ts": f"2026-11-23T08:{minute}:00.142Z", "message": "telemetry.span_detail", "attributes": node}).encode() + b"\n"
        for minute, node in ((44, odd | {"gen_ai.usage.total_tokens": total}), (45, LLM))
    )  # fmt: skip
    monkeypatch.setattr(nodes, "_MANY", 1)
    found = summed([PARSER.parse(log, final=True)])
    monkeypatch.setattr(nodes, "_MANY", len(log))
    assert found == summed([PARSER.parse(log, final=True)])
