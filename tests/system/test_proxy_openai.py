"""The interface for OpenAI's clients, with the official one."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests

from tests.system import dify
from tests.system.programs import until
from tests.system.proxy import Proxy, proxying
from tests.system.test_proxy_dify import dify_running


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    with dify_running(folder) as url, proxying(folder, url, "openai = true\n") as found:
        yield found


@pytest.fixture
def client(proxy: Proxy) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="app-one", max_retries=0, timeout=10) as found:
        yield found


def asked(*texts: str) -> list[Any]:
    return [{"role": "user", "content": text} for text in texts]


USAGE = (dify.USAGE["prompt_tokens"], dify.USAGE["completion_tokens"], dify.USAGE["total_tokens"])


def test_an_answer(proxy: Proxy, client: openai.OpenAI) -> None:
    before = len(proxy.lines())
    found = client.chat.completions.create(model="support-bot", messages=asked("echo one two"), user="CANARY")
    assert (found.model, found.object, found.choices[0].message.content) == (
        "support-bot",
        "chat.completion",
        "one two",
    )
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == USAGE
    (line,) = until("its line", lambda: proxy.lines()[before:])
    assert (line["http.route"], line["http.response.status_code"]) == ("/v1/chat-messages", 200)
    assert [u["gen_ai.usage.input_tokens"] for u in line["dify.proxy.usage"]] == [dify.USAGE["prompt_tokens"]]


def test_a_stream(proxy: Proxy, client: openai.OpenAI) -> None:
    before = len(proxy.lines())
    chunks = list(
        client.chat.completions.create(
            model="m", messages=asked("echo one two"), stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "one two "
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == dify.USAGE["total_tokens"]
    (line,) = until("its line", lambda: proxy.lines()[before:])
    assert line["dify.streaming"] is True
    assert line["gen_ai.server.time_to_first_token"] >= dify.FIRST_TOKEN_SECONDS
    without = list(client.chat.completions.create(model="m", messages=asked("echo one"), stream=True))
    assert [chunk.usage for chunk in without] == [None] * len(without)


def test_a_conversation_becomes_a_transcript(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "echo a"}]}]
    assert client.chat.completions.create(model="m", messages=messages).choices[0].message.content == "a"
    found = client.chat.completions.create(model="m", messages=[{"role": "system", "content": "s"}, *asked("q")])
    assert found.choices[0].message.content == "CANARY answer to system: s\n\nuser: q"


def test_failures_are_the_clients_own(proxy: Proxy, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="it did not work") as refused:
        client.chat.completions.create(model="m", messages=asked("provider"))
    assert refused.value.code == "completion_request_error"
    with pytest.raises(openai.APIError, match="CANARY"):
        list(client.chat.completions.create(model="m", messages=asked("provider"), stream=True))
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model="m", messages=asked("q"))
    with pytest.raises(openai.BadRequestError, match="tools cannot be passed on"):
        client.chat.completions.create(
            model="m", messages=asked("q"), tools=[{"type": "function", "function": {"name": "f"}}]
        )


@pytest.mark.parametrize("body", ["", "[]", "{", '{"messages": []}', '{"messages": [1]}', '{"messages": [{"content": 1}]}',
                                  '{"messages": [{"content": [{"image_url": {"url": "data:x"}}]}]}'])  # fmt: skip
def test_bad_input_is_one_sentence(proxy: Proxy, body: str) -> None:
    answer = requests.post(f"{proxy.url}/v1/chat/completions", data=body, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request_error"


def test_the_interface_is_off_by_default(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("closed")
    with dify_running(folder) as url, proxying(folder, url) as closed:
        assert requests.post(f"{closed.url}/v1/chat/completions", json={}, timeout=10).status_code == 404
        (line,) = closed.wait_for_lines(1)
        assert line["http.route"] == "other"
