"""Twenty random shapes of durations from 0.2 ms to 20 minutes as access lines of Dify, one route each, with their book."""

import random
from collections.abc import Callable, Iterator, Sequence
from math import ceil

from msgspec import Struct

from exporter.ledger.histogram import EMPTY, layout
from parsers.values.numbers import SECOND

_ROUTES = (
    "/v1/info", "/v1/parameters", "/v1/meta", "/v1/site", "/v1/chat-messages", "/v1/completion-messages",
    "/v1/workflows/run", "/v1/workflows/logs", "/v1/files/upload", "/v1/audio-to-text", "/v1/text-to-audio",
    "/v1/messages", "/v1/conversations", "/v1/datasets", "/v1/apps/annotations", "/v1/app/feedbacks",
    "/console/api/apps", "/console/api/datasets", "/console/api/setup", "/console/api/login",
)  # fmt: skip

_LEAST, _MOST = 0.0002, 1200.0

Shape = Callable[[random.Random], float]


class Book(Struct, frozen=True):
    """The durations of one route in nanoseconds, in the order of their lines."""

    route: str
    durations: tuple[int, ...]

    def exact(self, q: float) -> float:
        """The smallest duration in seconds that at least the fraction `q` of all do not exceed."""
        return sorted(self.durations)[max(1, ceil(q * len(self.durations))) - 1] / SECOND


def _shape(dice: random.Random) -> Shape:
    low = _LEAST * (_MOST / _LEAST) ** dice.uniform(0, 0.8)
    wide, kind = dice.uniform(0.3, 2.0), dice.randrange(5)
    return (
        lambda d: low * d.lognormvariate(1.0, wide),
        lambda d: low + d.expovariate(1 / (3 * low)),
        lambda d: low * (1 + 20 * d.random()),
        lambda d: low * d.paretovariate(0.8 + wide),
        lambda d: low * d.lognormvariate(0.0, 0.3) * (1 if d.random() < 0.8 else 40),
    )[kind]


def books(seed: int = 1, lines: int = 1500) -> list[Book]:
    """The shapes of a seed, with so many lines each."""
    dice = random.Random(seed)
    found = []
    for route in _ROUTES:
        shape = _shape(dice)
        seconds = (min(max(shape(dice), _LEAST), _MOST) for _ in range(lines))
        found.append(Book(route, tuple(round(value * 1_000_000) * 1000 for value in seconds)))
    return found


def access_lines(found: list[Book]) -> Iterator[str]:
    """Access lines of Dify's api, one of each route in turn. Their durations have microseconds."""
    for number, row in enumerate(zip(*(book.durations for book in found), strict=True)):
        for book, duration in zip(found, row, strict=True):
            at = f"2026-11-23 {number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.000"
            yield (
                f"{at} INFO [Dummy-1] [ext_request_logging.py:73] {number:032x} - "
                f"GET {book.route} 200 {duration / 1_000_000:.3f} "
            )


def counted(durations: Sequence[int]) -> dict[int, int]:
    """The durations in nanoseconds by exponential bucket."""
    cells = layout(())
    return cells.counted(cells.observe(EMPTY, durations))
