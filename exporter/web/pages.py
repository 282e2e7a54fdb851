"""The pages of the endpoint: what each path returns, who may request it, and the rate limit."""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qs

from msgspec import structs

from exporter.config.address import is_loopback
from exporter.config.web import WebConfig
from exporter.metrics.exposition import ScrapeOptions
from exporter.status.history import RANGES
from exporter.status.page import POLICY, page
from exporter.status.rows import Status
from exporter.web.auth import Authenticator, BusyError
from exporter.web.connection import HttpRequest, Response, accepts_gzip, select_content_type, text

_log = logging.getLogger(__name__)

_THREADS = 4
_MAX_WAITING = 64
_MAX_QUERY_FIELDS = 128
_MIN_GZIP_BYTES = 1024

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
        """Whether the first pass is done. Before that /metrics returns 503."""

    def metrics(self, options: ScrapeOptions) -> bytes:
        """The exposition text."""

    def health(self) -> Mapping[str, Any]:
        """The state of each source, for /health."""

    def status(self, chart_range: str) -> Status:
        """The data of the status page. `chart_range` is a key of `RANGES`."""

    def reload(self) -> Sequence[str]:
        """Read the configuration again. Returns its problems; if there are any, the old configuration stays."""


#: The values of each name in a query.
Query = Mapping[str, list[str]]
Page = Callable[[Backend, HttpRequest, Query], Response]
#: Page, query, content type and whether to compress. Requests with equal keys get the same response.
Key = tuple[Page, str, str, bool]


class Pages:
    """Responds to requests on the event loop. Pages that take time run on a few threads."""

    def __init__(self, backend: Backend, config: WebConfig, authenticator: Authenticator) -> None:
        self._backend, self._authenticator = backend, authenticator
        self._requires_authentication = config.requires_authentication
        self._headers = {name: value for name, value in {**_HEADERS, **config.headers.overrides()}.items() if value}
        self._bucket = TokenBucket(config.rate_limit.seconds, config.rate_limit.burst)
        self._threads = ThreadPoolExecutor(_THREADS, "page")
        self._waiting: dict[Key, asyncio.Task[Response]] = {}
        self._locks: dict[Key, asyncio.Lock] = {}

    def close(self) -> None:
        """Stop the threads without waiting for the running pages."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def respond(self, request: HttpRequest) -> Response:
        try:
            response = await self._checked_response(request)
        except RuntimeError:  # the thread limit is reached
            response = text(HTTPStatus.SERVICE_UNAVAILABLE, "No thread is free for this page.", retry_after="5")
        return structs.replace(response, headers={**self._headers, **response.headers})

    async def _checked_response(self, request: HttpRequest) -> Response:
        """The page, if the rate limit, the credentials, the path and the method allow the request."""
        if not self._bucket.take(time.monotonic()):
            return text(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests.", retry_after="1")
        try:
            if not await self._authenticator.allows(request.headers.get(b"authorization", b""), request.peer):
                return text(HTTPStatus.UNAUTHORIZED, "Unauthorized.", www_authenticate='Basic realm="dify-exporter"')
        except BusyError:
            return text(HTTPStatus.TOO_MANY_REQUESTS, "Too many passwords wait to be checked.", retry_after="1")
        methods = _PAGES.get(request.path)
        if methods is None:
            return _elsewhere(request)
        page = methods.get("GET" if request.method == "HEAD" else request.method)
        if page is None:
            allow = ", ".join(methods).replace("GET", "GET, HEAD")
            return text(HTTPStatus.METHOD_NOT_ALLOWED, f"Use {allow}.", allow=allow)
        if page is _reload and not self._may_reload(request):
            return text(HTTPStatus.FORBIDDEN, "Reload from this machine, as a user of web_config, or with SIGHUP.")
        if page is _healthy:
            # This page uses no thread, so it shows that the listener itself works.
            return _healthy(self._backend, request, {})
        return await self._shared_response(page, request)

    def _may_reload(self, request: HttpRequest) -> bool:
        """Whether the client is authenticated or on this machine, and no page of another site sent the request."""
        host = request.header("host").lower()
        own_origins = ("", f"http://{host}", f"https://{host}")
        # Over plain HTTP browsers send Sec-Fetch-Site only to localhost, but Origin always.
        is_cross_site = (
            request.header("sec-fetch-site") not in ("", "none", "same-origin")
            or request.header("origin").lower() not in own_origins
        )
        return not is_cross_site and (self._requires_authentication or is_loopback(request.peer))

    async def _shared_response(self, page: Page, request: HttpRequest) -> Response:
        """The response of a page, shared by equal requests that wait for it at the same time.

        A thousand scrapes at once cost two renderings: the running one, and one that begins after it. No client gets
        data that is older than its request.
        """
        use_gzip = accepts_gzip(request.header("accept-encoding"))
        key = (page, request.query, select_content_type(request.header("accept")), use_gzip)
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= _MAX_WAITING:
                return text(HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests are waiting.", retry_after="1")
            waiting = self._waiting[key] = asyncio.create_task(self._render_in_turn(key, page, request, use_gzip))
        return await asyncio.shield(waiting)

    async def _render_in_turn(self, key: Key, page: Page, request: HttpRequest, use_gzip: bool) -> Response:
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            del self._waiting[key]
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(self._threads, _render, page, self._backend, request, use_gzip)
            finally:
                if key not in self._waiting:
                    del self._locks[key]


def _render(page: Page, backend: Backend, request: HttpRequest, use_gzip: bool) -> Response:
    try:
        query = parse_qs(request.query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError:
        sentence = f"The query has more than {_MAX_QUERY_FIELDS} fields, or cannot be read."
        return text(HTTPStatus.BAD_REQUEST, sentence)
    try:
        response = page(backend, request, query)
    except Exception:
        _log.exception("%s cannot be answered", request.path)
        return text(HTTPStatus.INTERNAL_SERVER_ERROR, "This is a fault of dify-exporter. Its log has the details.")
    if not use_gzip or len(response.body) < _MIN_GZIP_BYTES:
        return response
    body = gzip.compress(response.body, compresslevel=1, mtime=0)
    return structs.replace(response, body=body, headers={**response.headers, "Content-Encoding": "gzip"})


class TokenBucket:
    """A rate limiter: `burst` requests at once, then one per `interval` (seconds). An interval of 0 means no limit."""

    def __init__(self, interval: float, burst: int) -> None:
        self._interval, self._burst = interval, burst
        self._taken, self._updated_at = 0.0, 0.0

    def take(self, now: float) -> bool:
        """Take one token. Returns False if the bucket is empty. `now` is in seconds, on any monotonic clock."""
        if not self._interval:
            return True
        self._taken = max(0.0, self._taken - (now - self._updated_at) / self._interval)
        self._updated_at = now
        if self._taken + 1 > self._burst:
            return False
        self._taken += 1
        return True


def _metrics(backend: Backend, request: HttpRequest, query: Query) -> Response:
    if not backend.ready():
        return _ready(backend, request, query)
    content_type = select_content_type(request.header("accept"))
    options = ScrapeOptions(content_type, query.get("created") == ["true"], frozenset(query.get("name[]", ())))
    return Response(HTTPStatus.OK, backend.metrics(options), content_type)


def _elsewhere(request: HttpRequest) -> Response:
    """The response for an unknown path. A page with a slash behind its path is redirected to the page."""
    page_path = request.path.removesuffix("/")
    if page_path == "/" or page_path not in _PAGES:
        return text(HTTPStatus.NOT_FOUND, "Not found.")
    # A relative reference, because a reverse proxy may add a prefix to the path.
    location = f"../{page_path.rpartition('/')[2]}" + (f"?{request.query}" if request.query else "")
    return text(HTTPStatus.PERMANENT_REDIRECT, f"Use {page_path}.", location=location)


def _healthy(*_: object) -> Response:
    return text(HTTPStatus.OK, "Healthy.")


def _ready(backend: Backend, *_: object) -> Response:
    if backend.ready():
        return text(HTTPStatus.OK, "Ready.")
    health = backend.health()
    progress = health["first_pass"]
    reason = health["waiting_for"] or (
        f"first pass has read {progress['done_bytes']} of {progress['known_bytes']} bytes"
    )
    return text(HTTPStatus.SERVICE_UNAVAILABLE, f"Not ready: {reason}.", retry_after="1")


def _health(backend: Backend, *_: object) -> Response:
    health = backend.health()
    status = HTTPStatus.OK if health["status"] == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, json.dumps(health, indent=2).encode() + b"\n", "application/json")


def _status(backend: Backend, _: HttpRequest, query: Query) -> Response:
    asked = query.get("range", ["1h"])[-1]
    status = backend.status(asked if asked in RANGES else "1h")
    return Response(HTTPStatus.OK, page(status), "text/html; charset=utf-8")


def _reload(backend: Backend, *_: object) -> Response:
    if problems := backend.reload():
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
