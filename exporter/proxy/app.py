"""The WSGI application: a request goes to Dify as it came, its answer comes back as Dify gave it."""

import hashlib
import re
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gevent import GreenletExit

from exporter.config.proxy import ProxyConfig
from exporter.proxy.body import RequestBody
from exporter.proxy.disconnect_monitor import DisconnectMonitor
from exporter.proxy.errors import ClientLeft, RefusedError, UpstreamError, hang_up
from exporter.proxy.headers import api_key, end_to_end, host_of, target_of, towards_dify
from exporter.proxy.log import RequestLog
from exporter.proxy.openai import PATH as OPENAI_PATH
from exporter.proxy.openai import Completion, CompletionRefusedError
from exporter.proxy.request_record import RequestRecord
from exporter.proxy.response_reader import ResponseReader, is_event_stream, is_read
from exporter.proxy.translator import Translator, Unchanged
from exporter.proxy.upstream import Upstream, UpstreamResponse
from exporter.proxy.yield_cpu import yield_cpu
from parsers.access.routes import Routes
from parsers.batch import UNKNOWN
from parsers.dify.telemetry import app_id_of

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

#: No route of Dify begins like this, so it shadows none.
HEALTH = "/-/healthy"
#: Where the worker puts the function that ends the client's connection after this answer.
CLOSE = "dify_exporter.close"

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class App:
    """Dify as its clients see it, with a line in the log for each request."""

    def __init__(self, settings: ProxyConfig, routes: Routes, log: RequestLog, watch: DisconnectMonitor) -> None:
        """Raises OSError for a CA bundle that cannot be read."""
        self.upstream = Upstream(
            settings.upstream, settings.upstream_ca, settings.connect_timeout, settings.read_timeout
        )
        self._settings = settings
        self._routes = routes
        self._log = log
        self._watch = watch

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["RAW_URI"] == HEALTH:
            start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "3")])
            return _shown(environ, b"ok\n")
        environ["gunicorn.socket"].settimeout(self._settings.read_timeout)
        target = Completion.target if self._translates(environ) else environ["RAW_URI"]
        route = self._routes.of_target(target.encode("latin-1"))
        exchange = RequestRecord(environ, route, self._app_id(environ), self._log)
        self._watch.begin(environ["gunicorn.socket"])
        try:
            answer, passage = self._ask(environ, exchange)
        except RefusedError as refused:
            return self._refuse(environ, start_response, exchange, refused)
        except UpstreamError as error:
            exchange.outcome = error.outcome
            return self._refuse(environ, start_response, exchange, error.refusal())
        except ClientLeft:
            exchange.outcome = "client_closed"
            self._end(environ, exchange)
            raise hang_up() from None
        except BaseException:
            exchange.cut_off()
            self._end(environ, exchange)
            raise
        exchange.streaming = is_event_stream(answer.field("content-type"))
        exchange.answered(answer.status_code, self._reading(environ, exchange.route, answer))
        fields = passage.answered(answer.status_code, end_to_end(answer.fields))
        start_response(answer.status, fields)
        return self._relay(environ, exchange, answer, passage)

    def _translates(self, environ: Environ) -> bool:
        path = environ["RAW_URI"].partition("?")[0]
        return self._settings.openai and path == OPENAI_PATH and environ["REQUEST_METHOD"] == "POST"

    def _ask(self, environ: Environ, exchange: RequestRecord) -> tuple[UpstreamResponse, Translator]:
        _refuse_what_cannot_pass(environ)
        target = target_of(environ["RAW_URI"])
        body = RequestBody(environ)
        try:
            passage = Completion(body) if self._translates(environ) else Unchanged(target, body)
            host = self.upstream.host(host_of(environ))
            fields = [("Host", host), *passage.fields(towards_dify(environ))]
            answer = self.upstream.ask(environ["REQUEST_METHOD"], passage.target, fields, passage.body)
        finally:
            exchange.request_bytes = body.size
        two_ways = answer.field("content-length") and answer.field("transfer-encoding")
        if two_ways or any(_CONTROL.search(value) for _, value in answer.fields):
            answer.close()
            raise UpstreamError("upstream_reset")
        if not body.complete:  # Dify has answered without reading it all
            environ[CLOSE]()
        return answer, passage

    def _relay(
        self, environ: Environ, exchange: RequestRecord, answer: UpstreamResponse, passage: Translator
    ) -> Iterator[bytes]:
        try:
            if not answer.field("content-length"):
                yield b""  # the head goes out now, however long the first byte takes
            for piece in answer:
                exchange.passed(piece)
                sent = passage.feed(piece)
                yield sent
                exchange.response_bytes += len(sent)
                yield_cpu()
            yield (last := passage.finish())
            exchange.response_bytes += len(last)
        except UpstreamError as error:
            exchange.outcome = error.outcome
            self._cut(environ, answer)
            raise hang_up() from None
        except ClientLeft:
            exchange.outcome = "client_closed"
            raise hang_up() from None
        except GeneratorExit:
            exchange.outcome = "client_closed"
            raise
        except GreenletExit:  # the worker ends and waits no longer
            exchange.outcome = "upstream_reset"
            raise
        finally:
            answer.close()
            self._end(environ, exchange)

    def _reading(self, environ: Environ, route: str, answer: UpstreamResponse) -> ResponseReader | None:
        kind = self._routes.information(route)
        if not is_read(environ["REQUEST_METHOD"], kind, answer.status_code):
            return None
        return ResponseReader(answer.status_code, answer.fields)

    def _refuse(
        self, environ: Environ, start_response: StartResponse, exchange: RequestRecord, refused: RefusedError
    ) -> list[bytes]:
        if self._translates(environ):
            refused = CompletionRefusedError.of(refused)
        body = refused.body()
        if refused.close or "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
            environ[CLOSE]()
        pieces = _shown(environ, body)
        exchange.refused(int(refused.status[:3]))
        exchange.response_bytes = sum(map(len, pieces))
        self._end(environ, exchange)
        start_response(
            refused.status, [("Content-Type", "application/json; charset=utf-8"), ("Content-Length", str(len(body)))]
        )
        return pieces

    def _end(self, environ: Environ, exchange: RequestRecord) -> None:
        self._watch.end(environ["gunicorn.socket"])
        exchange.end()

    def _cut(self, environ: Environ, answer: UpstreamResponse) -> None:
        """Where only the connection's end ends the answer, a plain close would make it look whole."""
        if environ["SERVER_PROTOCOL"] == "HTTP/1.0" and not answer.field("content-length"):
            environ["gunicorn.socket"].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _app_id(self, environ: Environ) -> str | None:
        """From the configured map, else from the client's header where that is trusted."""
        if key := api_key(environ):
            digest = hashlib.sha256(key.encode("latin-1")).hexdigest()
            if app_id := self._settings.apps.get(digest):
                return app_id
        told = app_id_of(environ.get("HTTP_X_DIFY_APP_ID")) if self._settings.trust_app_header else UNKNOWN
        return None if told == UNKNOWN else told


def _shown(environ: Environ, body: bytes) -> list[bytes]:
    """An answer of our own; HEAD shows its length alone."""
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _refuse_what_cannot_pass(environ: Environ) -> None:
    if environ["REQUEST_METHOD"] == "CONNECT":
        raise RefusedError("405 Method Not Allowed", "method_not_allowed", "CONNECT does not pass here", close=True)
    if "websocket" in str(environ.get("HTTP_UPGRADE", "")).lower():
        raise RefusedError(
            "501 Not Implemented",
            "websocket_not_supported",
            "WebSockets do not pass this proxy: send /socket.io/ to Dify's api_websocket directly",
            close=True,
        )
