"""The WSGI application. It sends each request to Dify, streams the response back and logs one line."""

import hashlib
import re
import socket
import struct
from collections.abc import Iterable, Iterator

from gevent import GreenletExit

from exporter.config.wsgi import ProxyConfig
from exporter.proxy import openai
from exporter.proxy.headers import api_key, end_to_end, host_of, origin_form, request_fields
from exporter.proxy.log import RequestLog, RequestRecord
from exporter.proxy.response_reader import ResponseReader, is_event_stream, is_worth_reading
from exporter.proxy.translator import Translator
from exporter.proxy.upstream import Upstream, UpstreamError, UpstreamResponse
from exporter.wsgi.body import RequestBody, SharedMemory, yield_cpu
from exporter.wsgi.responses import (
    CLOSE_CONNECTION,
    HEALTH_PATH,
    ActiveRequests,
    ClientDisconnected,
    Environ,
    RefusedError,
    StartResponse,
    abort_error,
    has_unread_body,
    respond,
    respond_healthy,
)
from parsers.access.routes import Routes
from parsers.batch import UNKNOWN
from parsers.dify.labels import app_id_of

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds


class App:
    def __init__(self, settings: ProxyConfig, routes: Routes, log: RequestLog, requests: ActiveRequests) -> None:
        """Raises OSError if the CA bundle cannot be read."""
        self.upstream = Upstream(settings)
        self._settings, self._routes, self._log, self._requests = settings, routes, log, requests
        self._memory = SharedMemory()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["RAW_URI"] == HEALTH_PATH:
            return respond_healthy(environ, start_response)
        environ["gunicorn.socket"].settimeout(self._settings.read_timeout)
        target = openai.TARGET if self._is_completion(environ) else environ["RAW_URI"]
        route = self._routes.of_target(target.encode("latin-1"))
        record = RequestRecord(environ, route, self._app_id(environ), self._log)
        self._requests.add(environ["gunicorn.socket"])
        try:
            response, translator = self._forward(environ, record)
        except RefusedError as error:
            return self._send_error(environ, start_response, record, error)
        except ClientDisconnected:
            record.outcome = "client_closed"
            self._finish(environ, record)
            raise abort_error() from None
        except BaseException:  # the worker stops before Dify has responded
            record.status_code, record.outcome = 502, "upstream_reset"
            self._finish(environ, record)
            raise
        record.is_streaming = is_event_stream(response.field("content-type"))
        record.response_started(response.status_code, self._reader_for(environ, record.route, response))
        fields = translator.response_fields(response.status_code, end_to_end(response.fields))
        start_response(response.status, fields)
        return self._relay(environ, record, response, translator)

    def _is_completion(self, environ: Environ) -> bool:
        path = environ["RAW_URI"].partition("?")[0]
        return self._settings.openai and path == openai.PATH and environ["REQUEST_METHOD"] == "POST"

    def _forward(self, environ: Environ, record: RequestRecord) -> tuple[UpstreamResponse, Translator]:
        """Send the request to Dify and wait for the head of the response.

        Raises RefusedError (an UpstreamError if Dify fails) or ClientDisconnected.
        """
        if environ["REQUEST_METHOD"] == "CONNECT":
            raise RefusedError(405, "this proxy does not support CONNECT", close=True)
        if "websocket" in str(environ.get("HTTP_UPGRADE", "")).lower():
            message = "this proxy does not support WebSockets: send /socket.io/ to Dify's api_websocket directly"
            raise RefusedError(501, message, close=True, code="websocket_not_supported")
        target = origin_form(environ["RAW_URI"])
        body = RequestBody(environ)
        try:
            with self._memory.share() as hold:
                is_completion = self._is_completion(environ)
                translator = (
                    openai.CompletionTranslator(body, hold) if is_completion else Translator(target, body, body.framing)
                )
                host = self.upstream.host(host_of(environ))
                fields = [("Host", host), *translator.request_fields(request_fields(environ))]
                response = self.upstream.send(environ["REQUEST_METHOD"], translator.target, fields, translator.body)
        finally:
            record.request_bytes = body.size
        has_two_framings = response.field("content-length") and response.field("transfer-encoding")
        if has_two_framings or any(_CONTROL.search(value) for _, value in response.fields):
            response.close()
            raise UpstreamError("upstream_reset")
        if not body.is_complete:  # Dify has responded without reading the whole body
            environ[CLOSE_CONNECTION]()
        return response, translator

    def _relay(
        self, environ: Environ, record: RequestRecord, response: UpstreamResponse, translator: Translator
    ) -> Iterator[bytes]:
        try:
            if not response.field("content-length"):
                yield b""  # sends the head now; the first byte of the body may take long
            for piece in response:
                record.body_received(piece)
                sent = translator.feed(piece)
                yield sent
                record.response_bytes += len(sent)
                yield_cpu()
            yield (last := translator.finish())
            record.response_bytes += len(last)
        except UpstreamError as error:
            record.outcome = error.outcome
            if environ["SERVER_PROTOCOL"] == "HTTP/1.0" and not response.field("content-length"):
                # Only the end of the connection marks the end of the body: after an ordinary close, the client would
                # take the incomplete body for a complete one.
                environ["gunicorn.socket"].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            raise abort_error() from None
        except ClientDisconnected:
            record.outcome = "client_closed"
            raise abort_error() from None
        except GeneratorExit:
            record.outcome = "client_closed"
            raise
        except GreenletExit:  # the worker stops and its grace period is over
            record.outcome = "upstream_reset"
            raise
        finally:
            response.close()
            self._finish(environ, record)

    def _reader_for(self, environ: Environ, route: str, response: UpstreamResponse) -> ResponseReader | None:
        information = self._routes.information(route)
        if not is_worth_reading(environ["REQUEST_METHOD"], information, response.status_code):
            return None
        return ResponseReader(response.status_code, response.fields)

    def _send_error(
        self, environ: Environ, start_response: StartResponse, record: RequestRecord, error: RefusedError
    ) -> list[bytes]:
        body = openai.completion_error(error.code, str(error)) if self._is_completion(environ) else error.body()
        if error.close or has_unread_body(environ):
            environ[CLOSE_CONNECTION]()
        pieces = respond(environ, start_response, error.status, "application/json; charset=utf-8", body)
        record.status_code = error.status_code
        record.outcome = error.outcome if isinstance(error, UpstreamError) else record.outcome
        record.response_bytes = sum(map(len, pieces))
        self._finish(environ, record)
        return pieces

    def _finish(self, environ: Environ, record: RequestRecord) -> None:
        self._requests.remove(environ["gunicorn.socket"])
        record.finish()

    def _app_id(self, environ: Environ) -> str | None:
        """The app id from the `apps` setting, else from the X-Dify-App-Id header if `trust_app_header` is on."""
        if key := api_key(environ):
            digest = hashlib.sha256(key.encode("latin-1")).hexdigest()
            if app_id := self._settings.apps.get(digest):
                return app_id
        app_id = app_id_of(environ.get("HTTP_X_DIFY_APP_ID")) if self._settings.trust_app_header else UNKNOWN
        return None if app_id == UNKNOWN else app_id
