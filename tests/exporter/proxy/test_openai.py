"""Responses of Dify in the format of OpenAI."""

import json
import tracemalloc
from collections.abc import Callable

import pytest

from exporter.proxy.openai import CompletionTranslator
from exporter.wsgi.responses import RefusedError


def translated(*pieces: bytes, hold: Callable[[int], None] = lambda _: None) -> CompletionTranslator:
    return CompletionTranslator(pieces, hold)


REQUEST = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()


@pytest.mark.parametrize("odd", [rb'"\ud83d"', b"NaN", b"[Infinity]", b'"\xff"'])
def test_an_odd_value_in_a_response_does_not_empty_it(odd: bytes) -> None:
    """Dify writes a blocking answer by json.dumps (api/libs/helper.py), which knows values that JSON does not."""
    completion = translated(REQUEST)
    completion.response_fields(200, [("Content-Type", "application/json")])
    completion.feed(b'{"answer":"hello","metadata":{"retriever_resources":[%s],"usage":{"total_tokens":3}}}' % odd)
    answer = json.loads(completion.finish())
    assert answer["choices"][0]["message"]["content"] == "hello"
    assert answer["usage"]["total_tokens"] == 3


@pytest.mark.system
@pytest.mark.parametrize("value", ["{}", "[]", '{"a":[]}', '""', "NaN", '{"role":"user"}'])
def test_a_request_of_very_many_values_is_refused_before_it_takes_memory(value: str) -> None:
    body = b'{"messages":[%s]}' % ",".join([value] * 300_000).encode()
    tracemalloc.start()
    with pytest.raises(RefusedError, match="more than 200000 JSON tokens") as refused:
        translated(body)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.status_code == 413
    assert used < 3 * len(body) + 1_000_000


def test_a_long_text_is_not_repaired_and_a_valid_one_of_any_length_is_passed_on() -> None:
    """Each half surrogate that is repaired takes some hundred bytes for a moment."""
    head, tail = b'{"messages":[{"role":"user","content":"', b'"}]}'
    with pytest.raises(RefusedError):
        translated(head + rb"\ud800" * 200_000 + tail)
    (sent,) = translated(head + rb"\u4e2d" * 200_000 + tail).body
    assert json.loads(sent)["query"] == "\u4e2d" * 200_000


def test_the_size_in_memory_is_noted_while_a_request_comes_and_when_it_is_translated() -> None:
    held: list[int] = []
    content = "\u4e2d" * 100
    request = json.dumps({"messages": [{"role": "user", "content": content}]}, ensure_ascii=False).encode()
    completion = translated(request[:50], request[50:], hold=held.append)
    (sent,) = completion.body
    assert held == [50, len(request), len(sent)]
    assert not list(completion.body), "what was sent takes no memory while the response comes"
