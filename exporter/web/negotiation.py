"""Content negotiation (RFC 9110 §12.5): selects the exposition format and the compression.

Formats: prometheus/docs, content_negotiation.md.
"""

import re
from collections.abc import Iterator

from exporter.metrics.exposition import OPEN_METRICS, TEXT, TEXT_1

#: Media type, version and content type. Of several with the same quality the first is selected.
_OFFERS = (
    ("application/openmetrics-text", "1.0.0", OPEN_METRICS),
    ("text/plain", "1.0.0", TEXT_1),
    ("text/plain", "0.0.4", TEXT),
)
_MAX_RANGES = 64


def select_content_type(accept: str) -> str:
    """The offered content type with the highest quality; text 0.0.4 if none is acceptable, as other exporters do."""
    best, selected = 0.0, TEXT
    ranges = list(_ranges(accept))
    for media_type, version, content_type in _OFFERS:
        matching = [
            (_specificity(media_range, parameters), quality)
            for media_range, parameters, quality in ranges
            if _matches(media_range, parameters.get("version"), media_type, version)
        ]
        quality = max(matching)[1] if matching else 0.0
        if quality > best:
            best, selected = quality, content_type
    return selected


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip, or `*` if gzip is not named, has a quality above 0."""
    qualities = {coding: quality for coding, _, quality in _ranges(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _matches(media_range: str, requested_version: str | None, media_type: str, version: str) -> bool:
    if requested_version is None and (media_range, version) == ("text/plain", "1.0.0"):
        return False  # text/plain without a version means the oldest version
    if media_range in ("*/*", "text/*") and (media_type, version) != ("text/plain", "0.0.4"):
        return False  # a wildcard means the format that every client can read
    return media_range in (media_type, "*/*", "text/*") and requested_version in (None, version)


def _specificity(media_range: str, parameters: dict[str, str]) -> int:
    return 2 * ("*" not in media_range) + ("version" in parameters)


def _ranges(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The items of an Accept or Accept-Encoding header: name, parameters and quality."""
    for item in header.split(",")[:_MAX_RANGES]:
        name, *rest = (part.strip() for part in item.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        yield name.lower(), parameters, _quality(parameters.pop("q", "1"))


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", text) else 0.0
