"""What a client accepts (RFC 9110 §12.5), and what it gets of that.

Formats: prometheus/docs, content_negotiation.md.
"""

import re
from collections.abc import Iterator

from exporter.metrics.exposition import OPEN_METRICS, TEXT, TEXT_1

#: Media type, version and content type; the first of equals wins.
_OFFERS = (
    ("application/openmetrics-text", "1.0.0", OPEN_METRICS),
    ("text/plain", "1.0.0", TEXT_1),
    ("text/plain", "0.0.4", TEXT),
)
_MOST_RANGES = 64


def exposition(accept: str) -> str:
    """The content type of the better quality; text 0.0.4 where nothing is acceptable, as exporters do."""
    best, chosen = 0.0, TEXT
    ranges = [(media, parameters, quality) for media, parameters, quality in _ranges(accept)]
    for media, version, content_type in _OFFERS:
        fitting = [
            (_precision(wanted, parameters), quality)
            for wanted, parameters, quality in ranges
            if _fits(wanted, parameters.get("version"), media, version)
        ]
        quality = max(fitting)[1] if fitting else 0.0
        if quality > best:
            best, chosen = quality, content_type
    return chosen


def accepts_gzip(accept_encoding: str) -> bool:
    """The coding is named, or `*` stands for it, with a quality above 0."""
    qualities = {coding: quality for coding, _, quality in _ranges(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _fits(wanted: str, asked: str | None, media: str, version: str) -> bool:
    if asked is None and (wanted, version) == ("text/plain", "1.0.0"):
        return False  # who does not say a version means the one that was first
    if wanted in ("*/*", "text/*") and (media, version) != ("text/plain", "0.0.4"):
        return False  # who does not care gets what everybody reads
    return wanted in (media, "*/*", "text/*") and asked in (None, version)


def _precision(wanted: str, parameters: dict[str, str]) -> int:
    return 2 * ("*" not in wanted) + ("version" in parameters)


def _ranges(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for item in header.split(",")[:_MOST_RANGES]:
        name, *rest = (part.strip() for part in item.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        yield name.lower(), parameters, _quality(parameters.pop("q", "1"))


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", text) else 0.0
