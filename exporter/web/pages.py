"""The pages of the endpoint: what each path returns, who may ask for it, and how often."""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

from msgspec import structs

from exporter.config.address import is_loopback
from exporter.config.web import WebConfig
from exporter.status.page import POLICY, page
from exporter.status.rows import Status
from exporter.web.auth import BusyError, Users
from exporter.web.message import Request, Response, text
from exporter.web.negotiation import accepts_gzip, exposition

_log = logging.getLogger(__name__)

_THREADS = 4
_MOST_WAITING = 64
_MOST_FIELDS = 128
_SMALL = 1024

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
    "Vary": "Accept, Accept-Encoding",
}


class Backend(Protocol):
    """What the pages need from the service. Its methods are called on several threads."""

    def ready(self) -> bool:
        """Whether the first pass is done; until then no metrics are shown."""

    def metrics(self, content_type: str, created: bool, names: frozenset[str]) -> bytes:
        """The exposition text. With names, only these metrics or samples."""

    def health(self) -> Mapping[str, Any]:
        """The state of each source, for /health."""

    def status(self) -> Status:
        """What the status page shows."""

    def reload(self) -> Sequence[str]:
        """Reads the configuration again. Returns what is wrong with it, nothing where it was accepted."""


class PageRequest(NamedTuple):
    """What a page makes its response from."""

    backend: Backend
    request: Request
    query: Mapping[str, list[str]]


Page = Callable[[PageRequest], Response]
Key = tuple[Page, str, str, bool]


class Pages:
    """Answers requests on the event loop. What takes time runs on a few threads."""

    def __init__(self, backend: Backend, config: WebConfig, users: Users) -> None:
        self._backend = backend
        self._users = users
        self._guarded = config.requires_authentication
        self._headers = {name: value for name, value in {**_HEADERS, **config.headers.overrides()}.items() if value}
        self._bucket = TokenBucket(config.rate_limit.seconds, config.rate_limit.burst)
        self._threads = ThreadPoolExecutor(_THREADS, "page")
        self._waiting: dict[Key, asyncio.Task[Response]] = {}
        self._running: dict[Key, asyncio.Lock] = {}

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def respond(self, request: Request) -> Response:
        try:
            response = await self._allowed(request)
        except RuntimeError:  # no thread can be started
            response = text(HTTPStatus.SERVICE_UNAVAILABLE, "No thread is free for this page.", retry_after="5")
        return structs.replace(response, headers={**self._headers, **response.headers})

    async def _allowed(self, request: Request) -> Response:
        if not self._bucket.spend(time.monotonic()):
            return text(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests.", retry_after="1")
        try:
            if not await self._users.allow(request.headers.get(b"authorization", b""), request.peer):
                return text(HTTPStatus.UNAUTHORIZED, "Unauthorized.", www_authenticate='Basic realm="dify-exporter"')
        except BusyError:
            return text(HTTPStatus.TOO_MANY_REQUESTS, "Too many passwords wait to be checked.", retry_after="1")
        methods = _PAGES.get(request.path)
        if methods is None:
            return text(HTTPStatus.NOT_FOUND, "Not found.")
        page = methods.get("GET" if request.method == "HEAD" else request.method)
        if page is None:
            allow = ", ".join(methods).replace("GET", "GET, HEAD")
            return text(HTTPStatus.METHOD_NOT_ALLOWED, f"Use {allow}.", allow=allow)
        if page is _reload and not self._may_reload(request):
            return text(HTTPStatus.FORBIDDEN, "Reload from this machine, as a user of web_config, or with SIGHUP.")
        if page is _healthy:
            return _healthy(None)  # no thread is needed to say that the listener lives
        return await self._shared(page, request)

    def _may_reload(self, request: Request) -> bool:
        """Whether the client has a password or a certificate, or is on this machine, and is no page of another site."""
        host = request.header("host").lower()
        own = ("", f"http://{host}", f"https://{host}")
        # Over plain HTTP a browser says Origin alone, unless the name is this machine's.
        cross_site = (
            request.header("sec-fetch-site") not in ("", "none", "same-origin")
            or request.header("origin").lower() not in own
        )
        return not cross_site and (self._guarded or is_loopback(request.peer))

    async def _shared(self, page: Page, request: Request) -> Response:
        """Equal requests that wait for the same response share it: a thousand scrapers at once cost two renderings. No
        client gets a state that is older than its request.
        """
        accept, coding = request.header("accept"), accepts_gzip(request.header("accept-encoding"))
        key = (page, request.query, exposition(accept), coding)
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= _MOST_WAITING:
                return text(HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests wait.", retry_after="1")
            waiting = self._waiting[key] = asyncio.create_task(self._turn(key, page, request, coding))
        return await asyncio.shield(waiting)

    async def _turn(self, key: Key, page: Page, request: Request, coding: bool) -> Response:
        lock = self._running.setdefault(key, asyncio.Lock())
        async with lock:
            del self._waiting[key]
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(self._threads, _made, page, self._backend, request, coding)
            finally:
                if key not in self._waiting:
                    del self._running[key]


def _made(page: Page, backend: Backend, request: Request, coding: bool) -> Response:
    try:
        query = parse_qs(request.query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return text(HTTPStatus.BAD_REQUEST, f"The query has more than {_MOST_FIELDS} fields, or cannot be read.")
    try:
        response = page(PageRequest(backend, request, query))
    except Exception:
        _log.exception("%s cannot be answered", request.path)
        return text(HTTPStatus.INTERNAL_SERVER_ERROR, "This is a fault of dify-exporter; its log says more.")
    if not coding or len(response.body) < _SMALL:
        return response
    body = gzip.compress(response.body, compresslevel=1, mtime=0)
    return structs.replace(response, body=body, headers={**response.headers, "Content-Encoding": "gzip"})


class TokenBucket:
    """`burst` requests at once, then one per `interval` (seconds); an interval of 0 is no limit."""

    def __init__(self, interval: float, burst: int) -> None:
        self._interval, self._burst = interval, burst
        self._spent, self._at = 0.0, 0.0

    def spend(self, now: float) -> bool:
        if not self._interval:
            return True
        self._spent = max(0.0, self._spent - (now - self._at) / self._interval)
        self._at = now
        if self._spent + 1 > self._burst:
            return False
        self._spent += 1
        return True


def _metrics(q: PageRequest) -> Response:
    if not q.backend.ready():
        return _ready(q)
    content_type = exposition(q.request.header("accept"))
    names = frozenset(q.query.get("name[]", ()))
    return Response(
        HTTPStatus.OK, q.backend.metrics(content_type, q.query.get("created") == ["true"], names), content_type
    )


def _healthy(q: PageRequest | None) -> Response:
    del q
    return text(HTTPStatus.OK, "Healthy.")


def _ready(q: PageRequest) -> Response:
    if q.backend.ready():
        return text(HTTPStatus.OK, "Ready.")
    health = q.backend.health()
    read = health["first_pass"]
    reason = health["waiting_for"] or f"first pass has read {read['done_bytes']} of {read['known_bytes']} bytes"
    sentence = f"Not ready: {reason}."
    return text(HTTPStatus.SERVICE_UNAVAILABLE, sentence, retry_after="1")


def _health(q: PageRequest) -> Response:
    health = q.backend.health()
    status = HTTPStatus.OK if health["status"] == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, json.dumps(health, indent=2).encode() + b"\n", "application/json")


def _status(q: PageRequest) -> Response:
    return Response(HTTPStatus.OK, page(q.backend.status()), "text/html; charset=utf-8")


def _reload(q: PageRequest) -> Response:
    if problems := q.backend.reload():
        return text(HTTPStatus.INTERNAL_SERVER_ERROR, "The new configuration is refused.\n" + "\n".join(problems))
    return text(HTTPStatus.OK, "Reloaded.")


_PAGES: Mapping[str, Mapping[str, Page]] = {
    "/": {"GET": _status},
    "/metrics": {"GET": _metrics},
    "/health": {"GET": _health},
    "/-/healthy": {"GET": _healthy},
    "/-/ready": {"GET": _ready},
    "/-/reload": {"POST": _reload},
}
