import pytest

from parsers.access.request_line import method_and_route
from parsers.access.routes import table


@pytest.mark.parametrize(
    ("request_line", "labels"),
    [
        (b"POST /v1/chat-messages HTTP/1.1", ("POST", "/v1/chat-messages")),
        (b"GET / HTTP/2.0", ("GET", "static")),
        (b"FOOBAR /v1/info HTTP/1.1", ("other", "/v1/info")),
        (b"get /v1/info HTTP/1.1", ("other", "/v1/info")),
        (b"OPTIONS * HTTP/1.1", ("OPTIONS", "other")),
        (b"CONNECT evil:443 HTTP/1.1", ("CONNECT", "other")),
        (b"", ("unknown", "invalid")),
        (b"-", ("unknown", "invalid")),
        (b"GET /old", ("unknown", "invalid")),
        (b"GET /a b HTTP/1.1", ("unknown", "invalid")),
        (b"GET  HTTP/1.1", ("unknown", "invalid")),
        (b"G\x16T / HTTP/1.1", ("unknown", "invalid")),
        (b"\x16\x03\x01\x02", ("unknown", "invalid")),
    ],
)
def test_a_request_line_gives_two_labels(request_line: bytes, labels: tuple[str, str]) -> None:
    assert method_and_route(request_line, table()) == labels
