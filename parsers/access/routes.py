"""Request paths as templates of Dify's own route table (routes.txt): a closed set, whoever writes the path.

A tree of dictionaries by segment; a literal beats a parameter, and a dead end goes back to the parameter. The
method plays no part. Nothing is cached, so nobody can fill a cache.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from parsers.access.shapes import SHAPE
from parsers.batch import OTHER

STATIC = "static"
INVALID = "invalid"

#: Parameters that Dify declares as <path:…>: `langgenius/openai/openai`, an embedded URL, a plugin.
_SPANNING = frozenset({"path", "url", "identifier", "skill_path", "provider", "provider_id", "provider_name"})
_LONGEST_SPAN = 8

#: A parameter that Dify reads as one of a few words, where an id stands in another template's same place.
_WORDS = {"status": "enable|disable"}

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
_ORIGIN = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_TEMPLATE = re.compile(r"(?:/(?:[^\s{}/]|\{\w+\})*)+")
_PARAMETER = re.compile(r"\{(\w+)\}")

#: The front end's own paths (nginx sends them to Dify's web container), and the words that they begin with.
_STATIC = re.compile(
    rb"/(?:favicon\.ico|signin|install|(?:logo|_next)/.*|app/[0-9a-fA-F-]{36}(?:/.*)?"
    rb"|(?:chat|chatbot|workflow)/[A-Za-z0-9]{16})?",
    re.DOTALL,
)
_STATIC_WORDS = tuple(b"favicon.ico signin install logo _next app chat chatbot workflow".split())

_AREAS = {
    "v1": "service_api",
    "api": "web_app",
    "console": "console",
    "files": "files",
    "inner": "inner",
    "mcp": "mcp",
    "triggers": "trigger",
}


class RouteInformation(NamedTuple):
    """Labels of `dify_route_info`: `streaming` is yes, no or maybe, `model` yes or no."""

    area: str
    streaming: str
    model: str


class _Node(Struct):
    literals: dict[bytes, "_Node"] = {}
    patterns: dict[re.Pattern[bytes], "_Node"] = {}
    parameter: "_Node | None" = None
    spanning: "_Node | None" = None
    template: str | None = None


class Routes:
    """The table, with a deployment's own templates beside it."""

    def __init__(self, extra: Sequence[str] = ()) -> None:
        """Raises ValueError for an extra template that is none."""
        self._root = _Node()
        self._information: dict[str, RouteInformation] = {}
        self._read_shapes = {word.translate(SHAPE) for word in _STATIC_WORDS}
        self._read_patterns: set[re.Pattern[bytes]] = set()
        for template, flags in (*_built_in(), *((template, frozenset[str]()) for template in extra)):
            if not _TEMPLATE.fullmatch(template):
                raise ValueError(f'extra: expected a route such as /gateway/{{tenant}}/chat, found "{template}"')
            self._grow(template)
            self._information.setdefault(template, _information(template, flags))

    def of_target(self, target: bytes) -> str:
        """The route of a request target as it was sent: percent-encoded, with its query."""
        path = _ORIGIN.sub(b"", target, count=1) if target[:1] != b"/" else target
        return self.of_path(unquote_to_bytes(path.partition(b"?")[0].partition(b"#")[0]))

    def of_path(self, path: bytes) -> str:
        """The route of a decoded path, `static` for the front end, `other` for anything else."""
        if path[:1] != b"/" or _CONTROL.search(path):
            return OTHER
        found = _walk(self._root, path[1:].split(b"/"), 0)
        return found or (STATIC if _STATIC.fullmatch(path) else OTHER)

    def reads(self, segment: bytes) -> bool:
        """Whether a segment of this shape can be more than a parameter: then its very characters count."""
        shaped = segment.translate(SHAPE)
        return shaped in self._read_shapes or any(pattern.fullmatch(shaped) for pattern in self._read_patterns)

    def information(self, route: str) -> RouteInformation:
        """What kind of route a template is."""
        return self._information.get(route) or RouteInformation("other", "no", "no")

    @property
    def templates(self) -> tuple[str, ...]:
        return tuple(self._information)

    def _grow(self, template: str) -> None:
        node = self._root
        for segment in template[1:].split("/"):
            node = _child(node, segment)
            self._read(segment)
        if node.template is None:
            node.template = template

    def _read(self, segment: str) -> None:
        """Notes the shape of what a segment of a path is compared with."""
        whole = _PARAMETER.fullmatch(segment)
        words = _WORDS.get(whole[1], segment) if whole else segment
        if "{" not in words:
            self._read_shapes |= {word.encode().translate(SHAPE) for word in words.split("|")}
            return
        texts = [text.encode() for text in _PARAMETER.split(segment)[::2]]
        shapes = [text.translate(SHAPE) for text in texts]
        if shapes != texts:
            self._read_patterns.add(re.compile(b"[^/]+".join(map(re.escape, shapes))))


@cache
def table(extra: tuple[str, ...] = ()) -> Routes:
    """The built-in table with these templates beside it; where both fit, the built-in one holds."""
    return Routes(extra)


def _child(node: _Node, segment: str) -> _Node:
    whole = _PARAMETER.fullmatch(segment)
    if whole and whole[1] in _SPANNING:
        node.spanning = node.spanning or _Node()
        return node.spanning
    if whole and whole[1] not in _WORDS:
        node.parameter = node.parameter or _Node()
        return node.parameter
    if "{" in segment:
        pattern = "".join(
            _WORDS.get(piece, "[^/]+") if index % 2 else re.escape(piece)
            for index, piece in enumerate(_PARAMETER.split(segment))
        )
        return node.patterns.setdefault(re.compile(pattern.encode()), _Node())
    return node.literals.setdefault(segment.encode(), _Node())


def _walk(node: _Node, segments: Sequence[bytes], at: int) -> str | None:
    if at == len(segments):
        return node.template
    segment = segments[at]
    if (literal := node.literals.get(segment)) and (found := _walk(literal, segments, at + 1)):
        return found
    if not segment:  # no parameter is empty, but for the path of a plugin's own endpoint
        return node.spanning.template if node.spanning and at == len(segments) - 1 else None
    for pattern, child in node.patterns.items():
        if pattern.fullmatch(segment) and (found := _walk(child, segments, at + 1)):
            return found
    if node.parameter and (found := _walk(node.parameter, segments, at + 1)):
        return found
    return _span(node.spanning, segments, at) if node.spanning else None


def _span(node: _Node, segments: Sequence[bytes], at: int) -> str | None:
    """A parameter over several segments, the fewest first; one that ends the template takes all that is left."""
    for end in range(at + 1, min(len(segments), at + _LONGEST_SPAN) + 1):
        if found := _walk(node, segments, end):
            return found
    return node.template


def _built_in() -> Iterator[tuple[str, frozenset[str]]]:
    for line in files("parsers.access").joinpath("routes.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            template, *flags = line.split()
            yield template, frozenset(flags)


def _information(template: str, flags: frozenset[str]) -> RouteInformation:
    streaming = "yes" if "streams" in flags else "maybe" if "may-stream" in flags else "no"
    area = _AREAS.get(template[1:].partition("/")[0], "other")
    return RouteInformation(area, streaming, "yes" if "model" in flags else "no")
