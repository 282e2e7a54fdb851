"""The cause of a failure in an error body of Dify: only fixed words decide, and no other text is returned."""

import gzip
import json
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.dify.error_body import CAUSES, CODES, CONCURRENCY_LIMIT, cause_of_body, cause_of_text, code_of
from tests.golden import ROOT

APP = "770e8400-1f2d-4c3b-9a4e-0123456789ab"
REAL = ROOT / "tests" / "real_dify"


def plugin_error(text: str, error_type: str = "InvokeError") -> str:
    """`description` of a PluginInvokeError, as the plugin daemon writes it (api/core/plugin/impl/base.py)."""
    description = {"args": {"description": text}, "error_type": error_type, "message": text}
    return json.dumps(description, separators=(",", ":"))


RATE_LIMITED = '[models] Error: API request failed with status code 429: {"error": {"message": "Rate limit reached"}}'


STATUS = {"429": "rate_limited", "500": "provider_unavailable", "401": "provider_unauthorized"}


def test_the_exceptions_of_a_real_dify() -> None:
    """The text of an exception is the message of the body (api/libs/external_api.py).

    The fake model recorded only status codes. It cut 18 of its connections.
    """
    found: Counter[str | None] = Counter()
    logs = gzip.decompress((REAL / "text/api.log.gz").read_bytes()), (REAL / "incidents/api.log").read_bytes()
    text = "\n".join(map(bytes.decode, logs))
    for message in re.findall(r"^[\w.]*(?:Plugin|ModelNotExist|InvokeServer|Value)\w*: (.*)$", text, re.MULTILINE):
        cause = cause_of_body("invalid_param", message)
        found[cause] += 1
        if status := re.search(r"status code (\d{3})", message):
            assert cause == STATUS[status[1]]
        elif "PluginInvokeError" in message or "HTTPConnectionPool" in message:  # cut, refused
            assert cause == "provider_unavailable"
    assert found["rate_limited"] > 10
    assert found["model_not_supported"] == found["not_initialized"] == 2
    assert found[None] == text.count("ValueError: bad thing")  # a code node's own exception


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (f"req_id: 83e845f0fb PluginInvokeError: {plugin_error(RATE_LIMITED)}", "rate_limited"),
        (f"req_id:  PluginInvokeError: {plugin_error(RATE_LIMITED)}", "rate_limited"),  # without a request id
        (plugin_error(RATE_LIMITED), "rate_limited"),  # in a stream
        (f"Run failed: req_id: 83e845f0fb PluginInvokeError: {plugin_error(RATE_LIMITED)}", "rate_limited"),  # chatflow
        (f"Node LLM run failed: {RATE_LIMITED}", "rate_limited"),  # Dify before 1.0
        (plugin_error("[models] Error: API request failed with status code 503: x"), "provider_unavailable"),
        (plugin_error("[models] Error: API request failed with status code 403: x"), "provider_unauthorized"),
        (plugin_error("[models] Error: API request failed with status code 400: x"), "provider_error"),
        (plugin_error("no such thing", "KeyError"), "provider_error"),
        ('{"args":{},"error_type":"ChunkedEncodingError","message":"Response ended prematurely"}', "provider_unavailable"),
        (f"Too many requests. Please try again later. The current maximum concurrent requests allowed for {APP} is 2.",
         CONCURRENCY_LIMIT),
        ("Failed to request plugin daemon, url: plugin/4fad/management/models", "provider_unavailable"),
        ("req_id: a PluginDaemonInternalServerError: killed by timeout", "provider_unavailable"),
        ("Model gpt-9 not exist.", "model_not_supported"),
        ("Model text-embedding-9 does not exist.", "model_not_supported"),
        ("Provider langgenius/openai/openai does not exist.", "not_initialized"),
        ("Model gpt-4.1 credentials is not initialized.", "not_initialized"),
        ("Model provider langgenius/openai/openai quota exceeded.", "quota_exceeded"),
        ("Agent Chat App does not support blocking mode", None),
        ("Dataset does not exist.", None),
        ("Tenant does not exist.", None),
        ("bad thing", None),
        ("", None),
        (None, None),
        ({"a": 1}, None),
    ],
)  # fmt: skip
def test_an_invalid_parameter_may_be_a_failure(message: object, cause: str | None) -> None:
    assert cause_of_body("invalid_param", message) == cause


@pytest.mark.parametrize(
    ("code", "message", "cause"),
    [
        ("completion_request_error", "[openai] Rate Limit Error, slow down", "rate_limited"),
        ("completion_request_error", "Incorrect API key provided", "provider_unauthorized"),
        ("completion_request_error", "[models] Server Unavailable Error, HTTPConnectionPool(host='a'", "provider_unavailable"),
        ("completion_request_error", "anything", "provider_error"),
        ("completion_request_error", None, "provider_error"),
        ("provider_quota_exceeded", "x", "quota_exceeded"),
        ("provider_not_initialize", "x", "not_initialized"),
        ("model_currently_not_support", "x", "model_not_supported"),
        ("rate_limit_error", "x", "rate_limited"),
        ("too_many_requests", "x", CONCURRENCY_LIMIT),
        ("unauthorized", RATE_LIMITED, None),
        ("internal_server_error", RATE_LIMITED, None),
        ("not_found", "Model gpt-9 not exist.", None),
        (["completion_request_error"], "x", None),
        (None, None, None),
    ],
)  # fmt: skip
def test_a_code_may_show_the_cause(code: object, message: object, cause: str | None) -> None:
    assert cause_of_body(code, message) == cause


@pytest.mark.parametrize(
    "words", ["Too many requests. Please try again later. The current maximum concurrent requests allowed for a is 2.",
              "Model a not exist.", "Failed to request plugin daemon, url: a", "req_id: a PluginInvokeError: {}",
              "API request failed with status code 429: "]
)  # fmt: skip
def test_quoted_words_decide_nothing(words: str) -> None:
    for before in ("1 validation error for ChatRequestPayload\nquery\n  ", "he said: ", '"', " "):
        assert cause_of_text(before + words) is None
    quoting = plugin_error(f"[models] Error: API request failed with status code 500: {words}")
    assert cause_of_text(quoting) == "provider_unavailable"
    assert cause_of_body("completion_request_error", f"cannot answer: {words}") == "provider_error"


@given(st.text(max_size=200), st.sampled_from([*CODES, "CANARY", ""]))
def test_only_a_known_word_is_returned(text: str, code: str) -> None:
    assert cause_of_body(code, text) in {*CAUSES, None}
    assert cause_of_body(code, f"req_id: a PluginInvokeError: {text}") in {*CAUSES, None}
    assert code_of(text) in {*CODES, "other", None}


def test_a_code_is_one_of_difys() -> None:
    assert code_of("invalid_param") == "invalid_param"
    assert [code_of(value) for value in ("canary", "a" * 64, "Invalid_param", "invalid_param\n")] == ["other"] * 4
    assert [code_of(value) for value in (None, "", 5, [], {})] == [None] * 5


@pytest.mark.parametrize(
    "piece", ["[", "Model ", "Run failed: ", "req_id: ", '{"args":', "Node a", "\\", "\ud800", "a "]
)
def test_a_long_text_is_read_in_part(piece: str) -> None:
    assert cause_of_text(piece * 5_000_000) in {*CAUSES, None}
