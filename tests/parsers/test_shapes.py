"""A shape decides the route only if all paths of this shape have the same route."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.access.routes import Routes
from parsers.access.shapes import SHAPE, share_route
from parsers.nginx import Nginx
from tests.parsers.laws import summed

EXTRA = ("/gateway/{tenant}/chat", "/feed/{name}:face/end", "/{thing}.cafe", "/beef")
ROUTES = Routes(EXTRA)
TEMPLATES = [
    *EXTRA,
    *ROUTES.templates,
    "/favicon.ico",
    "/app/{id}/overview",
    "/chat/{code}",
    "/_next/{file}",
    "/wp-login.php",
]
DIGITS = "0123456789abcdef"

#: Ids, and words of the table at the place of an id.
VALUES = st.text(DIGITS, min_size=1, max_size=5) | st.sampled_from(
    ["cbf27734-ac10-3525-0b66-402800e03d2c", "enable", "disable", "draft", "feed", "face", "default", "a" * 16, "a%2fb"]
)
#: The place and the hexadecimal digit that change the text of a template.
SLIPS = st.lists(st.tuples(st.integers(0, 200), st.sampled_from(DIGITS)), max_size=2)


@st.composite
def paths(draw: st.DrawFn) -> bytes:
    template = draw(st.sampled_from(TEMPLATES))
    path = list(re.sub(r"\{\w+\}", lambda _: draw(VALUES), template))
    for place, digit in draw(SLIPS):
        if path[place % len(path)] in DIGITS:
            path[place % len(path)] = digit
    return "".join(path).encode()


def neighbours(path: bytes, digit: str) -> list[bytes]:
    """Return every path that differs from this one in one hexadecimal digit."""
    places = [at for at, byte in enumerate(path) if chr(byte) in DIGITS]
    return [path[:at] + digit.encode() + path[at + 1 :] for at in places]


@given(path=paths(), digit=st.sampled_from(DIGITS))
def test_paths_that_are_alike_have_one_route(path: bytes, digit: str) -> None:
    for other in neighbours(path, digit):
        assert other.translate(SHAPE) == path.translate(SHAPE)
        if share_route([b"GET " + path, b"GET " + other], ROUTES.compares):
            assert ROUTES.of_path(other) == ROUTES.of_path(path)


@pytest.mark.parametrize(
    ("template", "decides"),
    [
        ("/v1/messages/{}/feedbacks", True),
        ("/console/api/apps/{}/workflow-runs/{}/node-executions", True),
        ("/files/{}/file-preview", True),
        ("/app/{}/overview", True),
        ("/v1/messages/{}/%66eedbacks", True),
        ("/v1/messages/%2d{}/feedbacks", False),
        ("/v1/messages/{}?limit=20", False),
    ],
)
def test_fresh_ids_are_alike(template: str, decides: bool) -> None:
    """Otherwise the tests above would also hold for a function that always returns False."""
    ids = ("cbf27734-ac10-3525-0b66-402800e03d2c", "01234567-89ab-cdef-0123-456789abcdef")
    assert share_route([template.format(each, each).encode() for each in ids], ROUTES.compares) is decides


LINE = b'192.0.2.1 - - [24/Nov/2026:09:04:19 +0000] "%b" 200 5 "-" "-"\n'
REQUESTS = st.one_of(
    paths().map(lambda path: b"GET " + path + b" HTTP/1.1"),
    paths().map(lambda path: b"POST " + path + b"?conversation_id=abc&x=%20 HTTP/1.0"),
    paths().map(lambda path: b"GET http://dify.example" + path + b" HTTP/1.1"),
    st.sampled_from(
        [
            b"",
            b"-",
            b"GET / ",
            b"\\x16\\x03",
            b"GET /v1/a\\x22 HTTP/1.1",
            b"get /v1/info HTTP/1.1",
            b"GET /v1/info?a b HTTP/1.1",
        ]
    ),
)


@settings(max_examples=2 * settings.default.max_examples)
@given(requests=st.lists(REQUESTS, max_size=30))
def test_a_window_is_the_sum_of_its_lines(requests: list[bytes]) -> None:
    parser = Nginx(format="combined", routes=EXTRA)
    lines = [LINE % request for request in requests]
    assert summed([parser.parse(b"".join(lines))]) == summed(map(parser.parse, lines))
