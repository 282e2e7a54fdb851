"""Responses of Dify in the format of OpenAI."""

import json

import pytest

from exporter.proxy.openai import CompletionTranslator

REQUEST = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()


@pytest.mark.parametrize("odd", [rb'"\ud83d"', b"NaN", b"[Infinity]", b'"\xff"'])
def test_an_odd_value_in_a_response_does_not_empty_it(odd: bytes) -> None:
    """Dify writes a blocking answer by json.dumps (api/libs/helper.py), which knows values that JSON does not."""
    completion = CompletionTranslator([REQUEST])
    completion.response_fields(200, [("Content-Type", "application/json")])
    completion.feed(b'{"answer":"hello","metadata":{"retriever_resources":[%s],"usage":{"total_tokens":3}}}' % odd)
    answer = json.loads(completion.finish())
    assert answer["choices"][0]["message"]["content"] == "hello"
    assert answer["usage"]["total_tokens"] == 3
