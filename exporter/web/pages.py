"""Which path gives what, to whom, and how often."""

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

from exporter.config.address import loopback
from exporter.config.web import WebConfig
from exporter.status import Status
from exporter.web.auth import BusyError, Users
from exporter.web.message import Answer, Request, text
from exporter.web.negotiation import accepts_gzip, exposition
from exporter.web.page import POLICY, page

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


class Answers(Protocol):
    """What the pages ask of the service; called on several threads."""

    def ready(self) -> bool:
        """Whether the first pass is done; until then no metrics are shown."""

    def metrics(self, content_type: str, created: bool, names: frozenset[str]) -> bytes:
        """The exposition text; of these metrics or samples only, where names are given."""

    def health(self) -> Mapping[str, Any]:
        """The state of each source, for /health."""

    def status(self) -> Status:
        """What the status page shows."""

    def reload(self) -> Sequence[str]:
        """Reads the configuration again; what is wrong with it."""


class Question(NamedTuple):
    """What a page answers from."""

    answers: Answers
    request: Request
    query: Mapping[str, list[str]]


Page = Callable[[Question], Answer]
Key = tuple[Page, str, str, bool]


class Pages:
    """Answers requests on the event loop; what takes time runs on a few threads."""

    def __init__(self, answers: Answers, config: WebConfig, users: Users) -> None:
        self._answers = answers
        self._users = users
        self._guarded = config.guarded
        self._headers = {name: value for name, value in {**_HEADERS, **config.headers.set()}.items() if value}
        self._budget = _Budget(config.rate_limit.seconds, config.rate_limit.burst)
        self._threads = ThreadPoolExecutor(_THREADS, "page")
        self._waiting: dict[Key, asyncio.Task[Answer]] = {}
        self._running: dict[Key, asyncio.Lock] = {}

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def respond(self, request: Request) -> Answer:
        answer = await self._allowed(request)
        return structs.replace(answer, headers={**self._headers, **answer.headers})

    async def _allowed(self, request: Request) -> Answer:
        if not self._budget.spend(time.monotonic()):
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
            return _healthy(None)  # without a wait for a thread: it says that the listener lives, and no more
        return await self._shared(page, request)

    def _may_reload(self, request: Request) -> bool:
        """Who has shown a password or certificate, or sits on this machine; and no page of another site."""
        host = request.header("host").lower()
        own = ("", f"http://{host}", f"https://{host}")
        # Over plain HTTP a browser says Origin alone, unless the name is this machine's.
        cross_site = (
            request.header("sec-fetch-site") not in ("", "none", "same-origin")
            or request.header("origin").lower() not in own
        )
        return not cross_site and (self._guarded or loopback(request.peer))

    async def _shared(self, page: Page, request: Request) -> Answer:
        """Who asks for the same while an answer is still to be begun gets that answer: a thousand scrapers
        at once cost two renderings, and none sees a state from before its question.
        """
        accept, coding = request.header("accept"), accepts_gzip(request.header("accept-encoding"))
        key = (page, request.query, exposition(accept), coding)
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= _MOST_WAITING:
                return text(HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests wait.", retry_after="1")
            waiting = self._waiting[key] = asyncio.create_task(self._turn(key, page, request, coding))
        return await asyncio.shield(waiting)

    async def _turn(self, key: Key, page: Page, request: Request, coding: bool) -> Answer:
        lock = self._running.setdefault(key, asyncio.Lock())
        async with lock:
            del self._waiting[key]
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(self._threads, _made, page, self._answers, request, coding)
            finally:
                if key not in self._waiting:
                    del self._running[key]


def _made(page: Page, answers: Answers, request: Request, coding: bool) -> Answer:
    try:
        query = parse_qs(request.query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return text(HTTPStatus.BAD_REQUEST, f"The query has more than {_MOST_FIELDS} fields, or is none.")
    try:
        answer = page(Question(answers, request, query))
    except Exception:
        _log.exception("%s cannot be answered", request.path)
        return text(HTTPStatus.INTERNAL_SERVER_ERROR, "This is a fault of dify-exporter; its log says more.")
    if not coding or len(answer.body) < _SMALL:
        return answer
    body = gzip.compress(answer.body, compresslevel=1, mtime=0)
    return structs.replace(answer, body=body, headers={**answer.headers, "Content-Encoding": "gzip"})


class _Budget:
    """A token bucket: `burst` requests at once, then one each `interval` seconds; 0 is no limit."""

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


def _metrics(q: Question) -> Answer:
    if not q.answers.ready():
        return _ready(q)
    content_type = exposition(q.request.header("accept"))
    names = frozenset(q.query.get("name[]", ()))
    return Answer(
        HTTPStatus.OK, q.answers.metrics(content_type, q.query.get("created") == ["true"], names), content_type
    )


def _healthy(q: Question | None) -> Answer:
    del q
    return text(HTTPStatus.OK, "Healthy.")


def _ready(q: Question) -> Answer:
    if q.answers.ready():
        return text(HTTPStatus.OK, "Ready.")
    health = q.answers.health()
    read = health["first_pass"]
    reason = health["waiting_for"] or f"first pass has read {read['done_bytes']} of {read['known_bytes']} bytes"
    sentence = f"Not ready: {reason}."
    return text(HTTPStatus.SERVICE_UNAVAILABLE, sentence, retry_after="1")


def _health(q: Question) -> Answer:
    health = q.answers.health()
    status = HTTPStatus.OK if health["status"] == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, json.dumps(health, indent=2).encode() + b"\n", "application/json")


def _status(q: Question) -> Answer:
    return Answer(HTTPStatus.OK, page(q.answers.status()), "text/html; charset=utf-8")


def _reload(q: Question) -> Answer:
    if problems := q.answers.reload():
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
