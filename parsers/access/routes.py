"""Find the route of a request path: a template of Dify's own route table (routes.txt).

Routes are a closed set, so no client can create new label values. The table is a tree of segments. A literal segment
has priority over a parameter; if it leads to no template, the parameter is tried. The method does not matter. Paths are
not cached, so no client can fill a cache.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from parsers.access.shapes import SHAPE
from parsers.batch import OTHER

_TABLE = Path(__file__).with_name("routes.txt")

STATIC = "static"
INVALID = "invalid"

#: Parameters that Dify declares as <path:…>, such as `langgenius/openai/openai` or an embedded URL.
_SPANNING = frozenset({"path", "url", "identifier", "skill_path", "provider", "provider_id", "provider_name"})
_LONGEST_SPAN = 8

#: A parameter that Dify reads as one of a few words. Another template has an id at the same place.
_WORDS = {"status": "enable|disable"}

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
_ORIGIN = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_TEMPLATE = re.compile(r"(?:/(?:[^\s{}/]|\{\w+\})*)+")
_PARAMETER = re.compile(r"\{(\w+)\}")

#: The paths of the front end (nginx sends them to Dify's web container), and the words that they begin with.
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
    """The labels of `dify_route_info`.

    * `area`: one of the values of _AREAS, or `other`.
    * `streaming`: `yes`, `no`, or `maybe` if the request's response_mode decides.
    * `model`: `yes` if the route calls a model synchronously, otherwise `no`.
    """

    area: str
    streaming: str
    model: str


class _RouteNode(Struct):
    """A node of the tree: its children by kind of segment, and the template that ends here."""

    literals: dict[bytes, "_RouteNode"] = {}
    patterns: dict[re.Pattern[bytes], "_RouteNode"] = {}
    parameter: "_RouteNode | None" = None
    spanning: "_RouteNode | None" = None
    template: str | None = None


class Routes:
    """The route table, with additional templates of a deployment."""

    def __init__(self, extra: Sequence[str] = ()) -> None:
        """Raises ValueError for an extra template that is not a template."""
        self._root = _RouteNode()
        self._information: dict[str, RouteInformation] = {}
        self._compared_shapes = {word.translate(SHAPE) for word in _STATIC_WORDS}
        self._compared_patterns: set[re.Pattern[bytes]] = set()
        for template, flags in (*_built_in(), *((template, frozenset[str]()) for template in extra)):
            if not _TEMPLATE.fullmatch(template):
                raise ValueError(f'extra: expected a route such as /gateway/{{tenant}}/chat, found "{template}"')
            self._insert(template)
            self._information.setdefault(template, _information(template, flags))
        for segment in {segment for template in self._information for segment in template.split("/")}:
            self._add_compared(segment)

    def of_target(self, target: bytes) -> str:
        """Return the route of a request target as the client sent it: percent-encoded, with its query."""
        path = _ORIGIN.sub(b"", target, count=1) if target[:1] != b"/" else target
        return self.of_path(unquote_to_bytes(path.partition(b"?")[0].partition(b"#")[0]))

    def of_path(self, path: bytes) -> str:
        """Return the route of a decoded path: a template, `static` for the front end, `other` for anything else."""
        if path[:1] != b"/" or _CONTROL.search(path):
            return OTHER
        found = _walk(self._root, path[1:].split(b"/"), 0)
        return found or (STATIC if _STATIC.fullmatch(path) else OTHER)

    def compares(self, segment: bytes) -> bool:
        """Return whether the table compares a segment of this shape with a text. If not, it can only be a parameter."""
        shape = segment.translate(SHAPE)
        return shape in self._compared_shapes or any(pattern.fullmatch(shape) for pattern in self._compared_patterns)

    def information(self, route: str) -> RouteInformation:
        """Return the area of a route, and whether it streams and calls a model."""
        return self._information.get(route) or RouteInformation("other", "no", "no")

    @property
    def templates(self) -> tuple[str, ...]:
        return tuple(self._information)

    def _insert(self, template: str) -> None:
        node = self._root
        for segment in template[1:].split("/"):
            node = _child(node, segment)
        if node.template is None:
            node.template = template

    def _add_compared(self, segment: str) -> None:
        """Store the shapes of the texts that a segment of a path is compared with."""
        whole = _PARAMETER.fullmatch(segment)
        words = _WORDS.get(whole[1], segment) if whole else segment
        if "{" not in words:
            self._compared_shapes |= {word.encode().translate(SHAPE) for word in words.split("|")}
            return
        texts = [text.encode() for text in _PARAMETER.split(segment)[::2]]
        shapes = [text.translate(SHAPE) for text in texts]
        if shapes != texts:
            self._compared_patterns.add(re.compile(b"[^/]+".join(map(re.escape, shapes))))


@cache
def table(extra: tuple[str, ...] = ()) -> Routes:
    """Return the built-in table with additional templates. Where both fit, the built-in template is used."""
    return Routes(extra)


def _child(node: _RouteNode, segment: str) -> _RouteNode:
    if "{" not in segment:
        word = segment.encode()
        if word not in node.literals:
            node.literals[word] = _RouteNode()
        return node.literals[word]
    whole = _PARAMETER.fullmatch(segment)
    if whole and whole[1] in _SPANNING:
        node.spanning = node.spanning or _RouteNode()
        return node.spanning
    if whole and whole[1] not in _WORDS:
        node.parameter = node.parameter or _RouteNode()
        return node.parameter
    pattern = "".join(
        _WORDS.get(piece, "[^/]+") if index % 2 else re.escape(piece)
        for index, piece in enumerate(_PARAMETER.split(segment))
    )
    return node.patterns.setdefault(re.compile(pattern.encode()), _RouteNode())


def _walk(node: _RouteNode, segments: Sequence[bytes], at: int) -> str | None:
    if at == len(segments):
        return node.template
    segment = segments[at]
    if (literal := node.literals.get(segment)) and (found := _walk(literal, segments, at + 1)):
        return found
    if not segment:  # a parameter is not empty, except the path of a plugin's own endpoint
        return node.spanning.template if node.spanning and at == len(segments) - 1 else None
    for pattern, child in node.patterns.items():
        if pattern.fullmatch(segment) and (found := _walk(child, segments, at + 1)):
            return found
    if node.parameter and (found := _walk(node.parameter, segments, at + 1)):
        return found
    return _span(node.spanning, segments, at) if node.spanning else None


def _span(node: _RouteNode, segments: Sequence[bytes], at: int) -> str | None:
    """Match a parameter that spans segments, few of them first. At the end of a template it takes all segments left."""
    for end in range(at + 1, min(len(segments), at + _LONGEST_SPAN) + 1):
        if found := _walk(node, segments, end):
            return found
    return node.template


def _built_in() -> Iterator[tuple[str, frozenset[str]]]:
    for line in _TABLE.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            template, *flags = line.split()
            yield template, frozenset(flags)


def _information(template: str, flags: frozenset[str]) -> RouteInformation:
    streaming = "yes" if "streams" in flags else "maybe" if "may-stream" in flags else "no"
    area = _AREAS.get(template[1:].partition("/")[0], "other")
    return RouteInformation(area, streaming, "yes" if "model" in flags else "no")
