"""Content negotiation (RFC 9110 §12.5): selects the exposition format and the compression.

Formats: prometheus/docs, content_negotiation.md.
"""

import re
from collections.abc import Iterator, Mapping

from exporter.metrics.exposition import OPEN_METRICS, PROTOBUF, TEXT, TEXT_1

#: Media type, its parameters and content type. Of several with the same quality the first is selected.
_OFFERS = (
    (
        "application/vnd.google.protobuf",
        {"proto": "io.prometheus.client.MetricFamily", "encoding": "delimited"},
        PROTOBUF,
    ),
    ("application/openmetrics-text", {"version": "1.0.0"}, OPEN_METRICS),
    ("text/plain", {"version": "1.0.0"}, TEXT_1),
    ("text/plain", {"version": "0.0.4"}, TEXT),
)
_MAX_RANGES = 64


def select_content_type(accept: str) -> str:
    """The offered content type with the highest quality; text 0.0.4 if none is acceptable, as other exporters do."""
    best, selected = 0.0, TEXT
    ranges = list(_ranges(accept))
    for media_type, offered, content_type in _OFFERS:
        matching = [
            (2 * ("*" not in media_range) + bool(requested.keys() & offered), quality)  # the most specific one counts
            for media_range, requested, quality in ranges
            if _matches(media_range, requested, media_type, content_type)
            and all(requested.get(name, value) == value for name, value in offered.items())
        ]
        quality = max(matching)[1] if matching else 0.0
        if quality > best:
            best, selected = quality, content_type
    return selected


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip, or `*` if gzip is not named, has a quality above 0."""
    qualities = {coding: quality for coding, _, quality in _ranges(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _matches(media_range: str, requested: Mapping[str, str], media_type: str, content_type: str) -> bool:
    if content_type == TEXT_1 and "version" not in requested:
        return False  # text/plain without a version means the oldest version
    if media_range in ("*/*", "text/*"):
        return content_type == TEXT  # a wildcard means the format that every client can read
    return media_range == media_type


def _ranges(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The items of an Accept or Accept-Encoding header: name, parameters and quality."""
    for item in header.split(",")[:_MAX_RANGES]:
        name, *rest = (part.strip() for part in item.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        quality = parameters.pop("q", "1")
        is_valid = re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", quality)
        yield name.lower(), parameters, float(quality) if is_valid else 0.0
