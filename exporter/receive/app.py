"""The WSGI application. It reads what Dify sends and answers when the facts are in the log."""

import hmac
import json
import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterable
from functools import partial

from exporter.config.wsgi import ReceiveConfig, read_token
from exporter.credentials import basic_credentials
from exporter.process.reloaded import Reloaded
from exporter.receive.body import read_body, received
from exporter.receive.fact_log import FactLog
from exporter.wsgi.body import SharedMemory
from exporter.wsgi.responses import (
    CLOSE_CONNECTION,
    HEALTH_PATH,
    ActiveRequests,
    ClientDisconnected,
    Environ,
    Field,
    RefusedError,
    StartResponse,
    abort_error,
    has_unread_body,
    respond,
    respond_healthy,
)
from parsers.tracing import Reading, TooManyItems, UnreadableBody, read_langfuse, read_otlp

_log = logging.getLogger(__name__)

_JSON = "application/json"
_PROTOBUF = "application/x-protobuf"
#: The methods of requests that bring something.
_BRINGING = frozenset({"POST", "PUT", "PATCH"})
_MAX_OPEN = 64
#: A body of 1 MB takes much less time, even through a slow network.
_SLOW_SECONDS = 5.0
#: Seconds. OpenTelemetry's client gives a batch up after 10 s (opentelemetry-python, OTLPSpanExporter), so that it
#: must come soon; Langfuse's client tries three times in all (fern's client), so that it must come late.
_RETRY_OTLP, _RETRY_LANGFUSE = "2", "5"
#: What Langfuse's `auth_check` and Dify's link to the project need (langfuse, api/resources/projects).
_NAMED = {"id": "dify-exporter", "name": "dify-exporter"}
_PROJECTS = json.dumps({"data": [{**_NAMED, "organization": _NAMED, "metadata": {}}]}).encode()

#: Status, content type, body, and further header fields.
_Response = tuple[str, str, bytes, *tuple[Field, ...]]


class OpenRequests(ActiveRequests):
    """The open requests of the worker. A client that sends slowly does not keep the place of another for long."""

    def __init__(self) -> None:
        super().__init__()
        self._added_at: dict[socket.socket, float] = {}

    def admit(self, client: socket.socket) -> bool:
        """Add a request. If there are too many, the oldest one is aborted if it is slow. Otherwise return False."""
        if len(self.greenlets) >= _MAX_OPEN:
            oldest = next(iter(self.greenlets))
            if time.monotonic() - self._added_at[oldest] < _SLOW_SECONDS:
                return False
            self.abort(oldest)
        self._added_at[client] = time.monotonic()
        self.add(client)
        return True

    def remove(self, client: socket.socket) -> None:
        super().remove(client)
        self._added_at.pop(client, None)


class App:
    """The WSGI application of the one worker. Without a token file every client may send."""

    def __init__(self, settings: ReceiveConfig, log: FactLog, requests: OpenRequests) -> None:
        """Raises OSError or ValueError if there is no token in the token file. A change counts at the next request."""
        self._native, self._log, self._requests = settings.native, log, requests
        self._memory, file = SharedMemory(), settings.token_file
        self._token = Reloaded(f"token in {file}", [file], partial(read_token, file)) if file else None
        self._endpoints: dict[str, tuple[str, Callable[[Environ], _Response], str]] = {
            "/v1/traces": ("POST", self._traces, _RETRY_OTLP),
            "/v1/metrics": ("POST", self._ignored, _RETRY_OTLP),
            "/v1/logs": ("POST", self._ignored, _RETRY_OTLP),
            "/api/public/projects": ("GET", lambda _: ("200 OK", _JSON, _PROJECTS), _RETRY_LANGFUSE),
            "/api/public/ingestion": ("POST", self._ingestion, _RETRY_LANGFUSE),
            "/api/public/otel/v1/traces": ("POST", self._traces, _RETRY_OTLP),
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["RAW_URI"].partition("?")[0]
        if path == HEALTH_PATH and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return respond_healthy(environ, start_response)
        client = environ["gunicorn.socket"]
        try:
            self._check(environ, path)
            response = self._endpoints[path][1](environ)
        except RefusedError as error:
            if error.close:
                environ[CLOSE_CONNECTION]()
            response = self._refusal(environ, path, error)
        except ClientDisconnected:
            raise abort_error() from None
        finally:
            self._requests.remove(client)
        return respond(environ, start_response, *response)

    def _check(self, environ: Environ, path: str) -> None:
        """Raises RefusedError if the request is refused before its body is read."""
        close = has_unread_body(environ)
        if path not in self._endpoints and path != HEALTH_PATH:
            raise RefusedError(404, "the receiver has no such path", close)
        if environ["REQUEST_METHOD"] != self._method(path):
            raise RefusedError(405, f"expected {self._method(path)}", close)
        if self._token and not hmac.compare_digest(_token_of(environ), self._token.current()):
            raise RefusedError(401, "the Authorization header does not contain the token", close)
        if not self._requests.admit(environ["gunicorn.socket"]):
            raise RefusedError(503, "too many open requests", close)

    def _method(self, path: str) -> str:
        return "GET" if path == HEALTH_PATH else self._endpoints[path][0]

    def _traces(self, environ: Environ) -> _Response:
        content_type = _content_type(environ, _PROTOBUF, _JSON)
        body = read_body(environ, self._memory)
        self._write(lambda: read_otlp(body, is_json=content_type == _JSON, native=self._native))
        return _success(content_type)

    def _ingestion(self, environ: Environ) -> _Response:
        _content_type(environ, _JSON)
        body = read_body(environ, self._memory)
        reading = self._write(lambda: read_langfuse(body))
        successes = [{"id": event_id, "status": 201} for event_id in reading.event_ids]
        return "207 Multi-Status", _JSON, json.dumps({"successes": successes, "errors": []}).encode()

    def _ignored(self, environ: Environ) -> _Response:
        content_type = _content_type(environ, _PROTOBUF, _JSON)
        for _ in received(environ):
            pass
        self._log.count("ignored", {"none": 1})
        return _success(content_type)

    def _write(self, read: Callable[[], Reading]) -> Reading:
        try:
            reading = read()
            is_written = self._log.write(reading)
        except UnreadableBody as error:
            raise RefusedError(400, str(error)) from None
        except TooManyItems as error:
            raise RefusedError(413, str(error)) from None
        except MemoryError:
            raise RefusedError(413, "the body needs too much memory") from None
        except Exception as error:  # not 500: the client would send the same body again, or drop it silently
            place = traceback.extract_tb(error.__traceback__)[-1]
            _log.error("a body cannot be read: %s in %s:%s", type(error).__name__, place.filename, place.lineno)
            raise RefusedError(400, "the body cannot be read") from None
        if not is_written:
            raise RefusedError(503, "the log cannot be written")
        return reading

    def _refusal(self, environ: Environ, path: str, error: RefusedError) -> _Response:
        if error.status_code in (400, 401, 413, 415) or (
            error.status_code in (404, 405) and environ["REQUEST_METHOD"] in _BRINGING
        ):  # the client of another tracing service may be what was configured in Dify
            self._log.count("rejected", {"none": 1})
        fields: list[Field] = []
        if error.status_code == 401:
            fields = [("WWW-Authenticate", "Bearer")]
        elif error.status_code == 405:
            fields = [("Allow", self._method(path))]
        elif error.status_code == 503:
            fields = [("Retry-After", self._endpoints[path][2])]
        if _media_type(environ) == _PROTOBUF:
            text = str(error).encode()[:127]  # google.rpc.Status with its field 2, `message`, as OTLP/HTTP wants it
            return error.status, _PROTOBUF, bytes([0x12, len(text)]) + text, *fields
        return error.status, _JSON, error.body(), *fields


def _token_of(environ: Environ) -> bytes:
    """The token of a request: after Bearer, or the password of Basic.

    Langfuse's clients send Basic, with the public key as the user and the secret key as the password.
    """
    given = str(environ.get("HTTP_AUTHORIZATION", "")).encode("latin-1", "replace")
    scheme, _, value = given.partition(b" ")
    return value.strip() if scheme.lower() == b"bearer" else (basic_credentials(given) or (b"", b""))[1]


def _media_type(environ: Environ) -> str:
    return str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()


def _content_type(environ: Environ, *expected: str) -> str:
    """Raises RefusedError (415)."""
    if (found := _media_type(environ)) not in expected:
        message = f"the content type is not supported, expected {' or '.join(expected)}"
        raise RefusedError(415, message, close=True)
    return found


def _success(content_type: str) -> _Response:
    """An ExportTraceServiceResponse (or that of metrics or logs) without partial success."""
    return "200 OK", content_type, b"{}" if content_type == _JSON else b""
