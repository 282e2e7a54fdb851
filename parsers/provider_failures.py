"""Find the kind of a failure that a model provider or a plugin reported, in the error that Dify logs or returns.

A plugin answers with `error_type`, the name of a Python exception, and `message`, its text
(dify-plugin-sdk, dify_plugin/core/server/io_server.py). The SDK begins the text of a model's error with
`[provider] Rate Limit Error, ` or the words of another mapped type, otherwise with `[provider] Error: `
(interfaces/model/ai_model.py, _transform_invoke_error). The rest is the provider's text and may quote a prompt.

Therefore only three facts decide, in this order: 1. a status code at the beginning of the provider's text, in the fixed
words of a known library; 2. the name of the exception; 3. the fixed beginning of a library's connection error.
"""

from collections.abc import Mapping

from msgspec import Struct

from parsers.values import json as lenient_json
from parsers.values.patterns import lazy

#: An error of more bytes is not decoded as JSON; only its beginning is read.
_MAX_LENGTH = 1 << 16
#: Characters of a provider's text that are read.
_MAX_BEGINNING = 256

#: The kind of each exception of dify-plugin-sdk, requests, urllib3, httpx, openai, anthropic, google, botocore, aiohttp
#: and Python. Any other name is a `provider_error`.
_KIND_BY_TYPE: Mapping[str, str] = {
    name: kind
    for kind, names in {
        "rate_limited": "InvokeRateLimitError RateLimitError ThrottlingException TooManyRequestsException "
        "ServiceQuotaExceededException TooManyRequests ResourceExhausted rate_limit_error",
        "provider_unauthorized": "InvokeAuthorizationError AuthenticationError PermissionDeniedError PermissionDenied "
        "AccessDeniedException UnrecognizedClientException ExpiredTokenException InvalidSignatureException "
        "Unauthenticated NoCredentialsError authentication_error permission_error",
        "provider_unavailable": "InvokeServerUnavailableError InvokeConnectionError "
        "ChunkedEncodingError ConnectionError ConnectTimeout ReadTimeout Timeout ProxyError SSLError RetryError "
        "ProtocolError IncompleteRead MaxRetryError NewConnectionError NameResolutionError ReadTimeoutError "
        "ConnectTimeoutError RemoteDisconnected "
        "ConnectError ReadError WriteError WriteTimeout PoolTimeout RemoteProtocolError "
        "APIConnectionError APITimeoutError InternalServerError OverloadedError ServiceUnavailableError "
        "ServerError ServiceUnavailable GatewayTimeout BadGateway DeadlineExceeded "
        "EndpointConnectionError ConnectionClosedError ServiceUnavailableException InternalServerException "
        "ModelTimeoutException ModelNotReadyException "
        "ServerDisconnectedError ServerTimeoutError ClientConnectionError ClientConnectorError ClientPayloadError "
        "TimeoutError ConnectionResetError ConnectionRefusedError ConnectionAbortedError BrokenPipeError gaierror "
        "timeout URLError "
        "overloaded_error api_error PluginDaemonUnavailableError PluginConnectionClosedError",
    }.items()
    for name in names.split()
}

#: The kinds that `kind_of_plugin_error` and `kind_of_plugin_failure` may return.
KINDS = frozenset({*_KIND_BY_TYPE.values(), "provider_error"})

_TYPE_BY_SDK_WORDS = {
    "Connection": "InvokeConnectionError",
    "Server Unavailable": "InvokeServerUnavailableError",
    "Rate Limit": "InvokeRateLimitError",
    "Bad Request": "InvokeBadRequestError",
}
#: What the SDK calls the errors of `_TYPE_BY_SDK_WORDS`, as alternatives of a pattern.
SDK_ERRORS = "|".join(_TYPE_BY_SDK_WORDS)

#: The words that the SDK puts in front of the text of a model's error.
_SDK_WORDS = lazy(
    r"(?:\[[\w.-]{1,64}\] )?"
    rf"(?:Error: |({SDK_ERRORS}) Error(?:, |$)"
    r"|(Incorrect (?:model credentials|API key) provided))"
)

#: A status code in the fixed words of a library: `API request failed with status code 429: …`
#: (openai_api_compatible), `Error code:
#: 429 - …` (openai, anthropic), `429 Client Error: …` (requests), `Client error '429 …` (httpx), `429
#: RESOURCE_EXHAUSTED. …` (google-genai), `Failed to invoke model qwen-max, status code: 429, …` (tongyi),
#: `HTTP 429: …`, `Rerank API Error 429: …`.
_STATUS_CODE = lazy(
    r"(?:[A-Z][A-Za-z]*(?: [A-Za-z]+){0,6} (?:failed|returned) (?:with )?(?:HTTP |status(?: code)?:? ?)"
    r"|Failed to invoke model [\w./:@-]{1,128}, status code: "
    r"|An error occurred during credentials validation: status code "
    r"|(?:The request failed with |Received response with |API error: )?[Ss]tatus(?: code)?: ?"
    r"|Error code: "
    r"|(?:Client|Server) error '"
    r"|HTTP (?:[Ee]rror )?"
    r"|[A-Z][a-z]+ API Error "
    r"|(?=\d{3} (?:(?:Client|Server) Error: |[A-Z_]{2,32}\. )))"
    r"(\d{3})(?![\w-])"
)

#: The name of an exception at the beginning of a text: `litellm.RateLimitError: …`, `An error occurred
#: (ThrottlingException) …` (botocore), `{'type': 'error', 'error': {'type': 'overloaded_error'…` (anthropic, inside a
#: stream).
_TYPE_IN_TEXT = lazy(
    r"(?:(?:[a-z_]{1,32}\.){0,4}(?=[A-Z]\w{1,63}: )|An error occurred \((?=\w{1,64}\))"
    r"|\{'type': 'error', 'error': \{(?:'details': None, )?'type': ')(\w{1,64})"
)

#: The beginnings of connection errors of the same libraries.
_CONNECTION_FAILED = lazy(
    r"Response ended prematurely"
    r"|HTTPS?ConnectionPool\(host="
    r"|\(?['\"]Connection (?:aborted|broken)"
    r"|Connection broken: "
    r"|(?:Connection error|Request timed out|Request timeout|timed out|Read timed out)(?:\.|$)"
    r"|The (?:read|write) operation timed out"
    r"|peer closed connection without sending complete message body"
    r"|Server disconnected"
    r"|All connection attempts failed"
    r"|(?:<urlopen error )?\[Errno -?\d{1,5}\] (?:Connection (?:refused|reset|timed out)|Name or service not known"
    r"|Temporary failure in name resolution|No address associated with hostname|Network is unreachable"
    r"|No route to host|Broken pipe)"
    r"|Could not connect to the endpoint URL"
    r"|Cannot connect to host "
    r"|Request to Plugin Daemon Service failed"
    r"|killed by timeout"
    r"|(?:no available node, )?plugin runtime not found"
)

#: `{'code': -500, 'message': '…', 'data': None}`, Python's repr of the daemon's answer (api/core/plugin/impl/base.py).
_REPR = lazy(rb"\{'code': -?\d{1,6}, 'message': '")
#: `req_id: 83e845f0fb PluginInvokeError: {…}`, a plugin error as text (api/core/plugin/impl/exc.py).
_AS_TEXT = lazy(rb"(?:req_id: [^\s:]{0,64} )?(\w{1,64}Error): ")
#: The beginning of an error up to the provider's text, after all backslashes are removed.
_HEAD = lazy(rb'(?:\{"message":")?\{"args":\{(?:"description":"|\},"error_type":"(\w{1,64})","message":")')


class _Error(Struct, frozen=True, gc=False):
    message: str = ""
    error_type: str = ""


_read = lenient_json.reader(_Error)


def kind_of_plugin_error(text: bytes) -> str:
    """Return the kind (one of KINDS) of a plugin's error, in any form that Dify passes on:

    * what follows `Error in stream response for plugin ` in the api's and the worker's log;
    * `req_id: … PluginInvokeError: {"args":…,"error_type":…,"message":…}`, the message of an HTTP answer with the
      code `invalid_param`, of an `error` event, and of a failed node;
    * the text alone, the message of an HTTP answer with the code `completion_request_error`.

    This reads at most 64 KiB, in linear time. Text that a provider or a user wrote decides nothing.
    """
    if match := _REPR.match(text):
        text = _without_repr(text[match.end() :].rpartition(b"', 'data': ")[0] or text[match.end() :])
    for _ in range(2):  # the daemon's error, and the plugin's inside it
        error_type, message = _parts_of(text)
        if error_type != "PluginInvokeError":
            break
        text = message.encode()
    return kind_of_plugin_failure(error_type, message)


def kind_of_plugin_failure(error_type: str, message: str) -> str:
    """Return the kind (one of KINDS) of a plugin's failure.

    `error_type` is the name of the exception and `message` its text; each is "" where it is not known.
    """
    words = _SDK_WORDS.match(message)
    beginning = message[words.end() if words else 0 :][:_MAX_BEGINNING]
    if status := _STATUS_CODE.match(beginning):
        return _kind_of_status(int(status[1]))
    if kind := _KIND_BY_TYPE.get(error_type):
        return kind
    if words and words[2]:
        return "provider_unauthorized"
    if kind := _KIND_BY_TYPE.get(_TYPE_BY_SDK_WORDS.get(words[1], "") if words else ""):
        return kind
    if quoted := _TYPE_IN_TEXT.match(beginning):
        return _KIND_BY_TYPE.get(quoted[1], "provider_error")
    return "provider_unavailable" if _CONNECTION_FAILED.match(beginning) else "provider_error"


def _kind_of_status(status: int) -> str:
    if status == 429:
        return "rate_limited"
    if status in (401, 403):
        return "provider_unauthorized"
    return "provider_unavailable" if status >= 500 or status == 408 else "provider_error"


def _parts_of(text: bytes) -> tuple[str, str]:
    """Return the type and the message of an error, each "" where the text does not contain it."""
    error_type = ""
    if named := _AS_TEXT.match(text):
        error_type, text = named[1].decode(), text[named.end() :]
    if not text.startswith(b"{"):
        return error_type, text[: 2 * _MAX_BEGINNING].decode("utf-8", "replace")
    if len(text) <= _MAX_LENGTH and (error := _read(text)) is not None:
        return error.error_type or error_type, error.message
    head = _HEAD.match(text := text[: 4 * _MAX_BEGINNING].replace(b"\\", b""))
    if head is None:
        return error_type, ""
    return (head[1] or b"").decode(), text[head.end() :].decode("utf-8", "replace")


def _without_repr(text: bytes) -> bytes:
    r"""Undo the escapes of a Python string. The text was JSON before, so only `\\`, `\'` and `\"` occur."""
    return text[: _MAX_LENGTH * 2].replace(b"\\\\", b"\0").replace(b"\\", b"").replace(b"\0", b"\\")
