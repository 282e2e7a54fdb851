"""The kinds of failures of providers and plugins, in the words of real plugins and libraries."""

import json
import time
from collections.abc import Callable

import pytest

from parsers.provider_failures import KINDS, kind_of_plugin_error, kind_of_plugin_failure

#: error_type, message, kind. The messages are those that `_transform_invoke_error` (dify-plugin-sdk,
#: dify_plugin/interfaces/model/ai_model.py) and the plugins of dify-official-plugins create.
FAILURES = [
    # openai_api_compatible, ollama: models/*/llm.py
    ("InvokeError", "[models] Error: API request failed with status code 429: {}", "rate_limited"),
    ("InvokeError", "[models] Error: API request failed with status code 401: {}", "provider_unauthorized"),
    ("InvokeError", "[models] Error: API request failed with status code 403: {}", "provider_unauthorized"),
    ("InvokeError", "[models] Error: API request failed with status code 500: {}", "provider_unavailable"),
    ("InvokeError", "[models] Error: API request failed with status code 529: {}", "provider_unavailable"),
    ("InvokeError", "[models] Error: API request failed with status code 400: {}", "provider_error"),
    ("InvokeError", "[models] Error: API request failed with status code 404: {}", "provider_error"),
    ("InvokeError", "[models] Error: Rerank API Error 502: Bad Gateway", "provider_unavailable"),
    ("InvokeError", "[models] Error: LLM response returned no choices", "provider_error"),
    # openai, azure_openai, anthropic: the words of the library behind those of the SDK
    ("InvokeRateLimitError", "[openai] Rate Limit Error, Error code: 429 - {'error': {}}", "rate_limited"),
    ("InvokeServerUnavailableError", "[openai] Server Unavailable Error, Error code: 503 - {}", "provider_unavailable"),
    ("InvokeBadRequestError", "[openai] Bad Request Error, Error code: 400 - {}", "provider_error"),
    ("InvokeConnectionError", "[anthropic] Connection Error, Connection error.", "provider_unavailable"),
    ("InvokeConnectionError", "[openai] Connection Error, Request timed out.", "provider_unavailable"),
    (
        "InvokeAuthorizationError",
        "[openai] Incorrect model credentials provided, please check and try again. ",
        "provider_unauthorized",
    ),
    (
        "InvokeBadRequestError",
        "[anthropic] Bad Request Error, {'type': 'error', 'error': {'details': None, 'type': 'overloaded_error'}}",
        "provider_unavailable",
    ),
    # gemini maps every status to one type; xinference maps 403 to "unavailable"
    ("InvokeConnectionError", "[google] Connection Error, 429 RESOURCE_EXHAUSTED. {'error': {}}", "rate_limited"),
    ("InvokeConnectionError", "[google] Connection Error, 400 INVALID_ARGUMENT. {'error': {}}", "provider_error"),
    ("InvokeServerUnavailableError", "[xinference] Server Unavailable Error, Error code: 403", "provider_unauthorized"),
    # tongyi, bedrock, siliconflow
    ("InvokeError", "[tongyi] Error: Failed to invoke model qwen-max, status code: 429, message: x", "rate_limited"),
    ("InvokeError", "[bedrock] Error: ThrottlingException: Too many tokens", "rate_limited"),
    ("InvokeError", "[bedrock] Error: AccessDeniedException: no", "provider_unauthorized"),
    ("ClientError", "An error occurred (ThrottlingException) when calling the Converse operation", "rate_limited"),
    ("InvokeError", "[x] Error: litellm.AuthenticationError: OpenAIException - no", "provider_unauthorized"),
    ("HTTPStatusError", "Client error '429 Too Many Requests' for url 'https://x'", "rate_limited"),
    # requests, urllib3 and Python, as a plugin reports them
    ("HTTPError", "401 Client Error: Unauthorized for url: https://x", "provider_unauthorized"),
    ("HTTPError", "503 Server Error: Service Unavailable for url: https://x", "provider_unavailable"),
    ("ChunkedEncodingError", "Response ended prematurely", "provider_unavailable"),
    ("Exception", "HTTPSConnectionPool(host='x', port=443): Read timed out. (read timeout=60)", "provider_unavailable"),
    ("InvokeError", "[x] Error: ('Connection aborted.', RemoteDisconnected('no'))", "provider_unavailable"),
    ("OSError", "[Errno 111] Connection refused", "provider_unavailable"),
    ("OSError", "[Errno 28] No space left on device", "provider_error"),
    ("CredentialsValidateFailedError", "Credentials validation failed with status code 401", "provider_unauthorized"),
    ("CredentialsValidateFailedError", "api_key is required", "provider_error"),
    # errors of the daemon itself
    ("PluginDaemonInternalServerError", "killed by timeout", "provider_unavailable"),
    ("PluginNotFoundError", "plugin not found", "provider_error"),
    ("", "", "provider_error"),
]


@pytest.mark.parametrize(("error_type", "message", "kind"), FAILURES)
def test_a_failure_has_its_kind_in_every_form(error_type: str, message: str, kind: str) -> None:
    assert kind_of_plugin_failure(error_type, message) == kind
    assert kind_of_plugin_error(as_http(error_type, message)) == kind
    assert kind_of_plugin_error(as_log(error_type, message)) == kind
    assert kind_of_plugin_error(as_log(error_type, message, traceback="Traceback\nOSError: \\'{\"x")) == kind


def test_a_text_with_the_words_of_the_sdk_is_enough() -> None:
    """`completion_request_error` has no error type."""
    for error_type, message, kind in FAILURES:
        if message.startswith("[") and error_type != "InvokeError":
            assert kind_of_plugin_error(message.encode()) == kind
    assert kind_of_plugin_error(b"[openai] Rate Limit Error, slow down") == "rate_limited"
    assert kind_of_plugin_error(b"[openai] Server Unavailable Error, away") == "provider_unavailable"


def test_failures_of_the_daemon_itself_contain_no_plugin_error() -> None:
    """internal/types/exception/factory.go."""
    for error_type, message, kind in [
        ("PluginDaemonInternalServerError", "killed by timeout", "provider_unavailable"),
        ("PluginDaemonInternalServerError", "no available node, plugin runtime not found", "provider_unavailable"),
        ("PluginNotFoundError", "plugin not found", "provider_error"),
        ("PluginPermissionDeniedError", "permission denied", "provider_error"),
    ]:
        error = {"message": message, "error_type": error_type, "args": None}
        answer = repr({"code": -500, "message": json.dumps(error, separators=(",", ":")), "data": None})
        assert kind_of_plugin_error(answer.encode()) == kind
        assert kind_of_plugin_error(f"req_id: 83e845f0fb {error_type}: {message}".encode()) == kind


def inner(error_type: str, message: str, **args: str) -> str:
    """Encode like Go's encoding/json: keys sorted, no blanks (dify-plugin-daemon, ErrorResponse.Error)."""
    parts = {"args": args, "error_type": error_type, "message": message}
    return json.dumps(parts, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def as_http(error_type: str, message: str) -> bytes:
    description = {"description": message} if error_type.startswith("Invoke") else {}
    return f"req_id: 83e845f0fb PluginInvokeError: {inner(error_type, message, **description)}".encode()


def as_log(error_type: str, message: str, **args: str) -> bytes:
    """Return the text that `Error in stream response for plugin %s` logs: `rep.__dict__` (api/core/plugin/impl/base.py)."""
    if error_type.startswith("Invoke"):
        args["description"] = message
    error = {"message": inner(error_type, message, **args), "error_type": "PluginInvokeError", "args": None}
    answer = {"code": -500, "message": json.dumps(error, separators=(",", ":"), ensure_ascii=False), "data": None}
    return repr(answer).encode()


PROMPTS = [
    "status code 429",
    "API request failed with status code 429",
    'error_type":"InvokeRateLimitError","message":"Error code: 429',
    '"},"error_type":"InvokeRateLimitError","message":"[x] Rate Limit Error, Error code: 429"}',
    '\\"},\\"error_type\\":\\"InvokeRateLimitError\\"}',
    "', 'data': None} {'code': -500, 'message': '{\"message\":\"Error code: 429",
    "] error_type=InvokeRateLimitError action=x",
    "\\\\\\\"\\'\x00\u2028\U0001f600 Error code: 429",
    "PluginInvokeError: {}",
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_quoted_prompt_decides_nothing(prompt: str) -> None:
    for message, kind in [
        (f"[models] Error: API request failed with status code 400: {prompt}", "provider_error"),
        (f"[models] Error: API request failed with status code 401: {prompt}", "provider_unauthorized"),
        (f"[models] Error: the prompt is too long: {prompt}", "provider_error"),
        (f'[models] Error: invalid input "{prompt}"', "provider_error"),
    ]:
        assert kind_of_plugin_error(as_log("InvokeError", message)) == kind
        assert kind_of_plugin_error(as_http("InvokeError", message)) == kind
    for log in (as_log("ValueError", f"input {prompt}"), as_http("ValueError", f"input {prompt}")):
        assert kind_of_plugin_error(log) == "provider_error"
    log = as_log("ReadTimeout", f"input {prompt}", traceback=prompt)
    assert kind_of_plugin_error(log) == "provider_unavailable"


@pytest.mark.parametrize("form", [as_http, as_log])
def test_an_incomplete_or_long_error_is_read_from_its_beginning(form: Callable[[str, str], bytes]) -> None:
    begin = "[models] Error: API request failed with status code 429: "
    whole = form("InvokeError", begin + '"' * 1000)
    for length in (400, 700, len(whole) - 1):
        assert kind_of_plugin_error(whole[:length]) == "rate_limited"
    assert kind_of_plugin_error(form("InvokeError", begin + "x" * 1_000_000)) == "rate_limited"
    assert kind_of_plugin_error(form("ChunkedEncodingError", "x" * 1_000_000)) == "provider_unavailable"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"{'code': -500, 'message': '",
        b"{'code': -500, 'message': ', 'data': ",
        b"PluginInvokeError: ",
        b"PluginInvokeError: PluginInvokeError: {}",
        b'PluginInvokeError: {"message":7}',
        b'PluginInvokeError: {"args":{},"error_type":["InvokeRateLimitError"]}',
        b"PluginInvokeError: " + b'{"a":' * 30_000,
        b'PluginInvokeError: {"message":"\\ud800"}',
        b"\xff\xfe\x00",
        b"\\" * 1000,
    ],
)
def test_anything_else_is_an_error_of_the_provider(text: bytes) -> None:
    assert kind_of_plugin_error(text) == "provider_error"


@pytest.mark.parametrize(
    "begin", [b"", b"[x] Error: ", b"{'code': -500, 'message': '", b"PluginInvokeError: {", b"A failed with "]
)
def test_the_time_is_linear(begin: bytes) -> None:
    for noise in (b"\\", b"'", b'"', b"Error ", b"A a ", b"[", b"status code ", b'{"a":', b"a."):
        text = begin + noise * (1_000_000 // len(noise))
        begun = time.process_time()
        kind_of_plugin_error(text)
        assert time.process_time() - begun < 0.5, noise


def test_the_kinds() -> None:
    assert {"rate_limited", "provider_unauthorized", "provider_unavailable", "provider_error"} == KINDS
    assert {kind for *_, kind in FAILURES} == KINDS
