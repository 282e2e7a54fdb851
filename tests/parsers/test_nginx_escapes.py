"""A client cannot change the values of a line in a JSON format, with either escape mode of nginx."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.batch import Request
from parsers.nginx import Nginx
from tests.parsers.laws import check_laws, check_linear

FORMATS = (
    '{"ua":"$http_user_agent","s":$status,"r":"$request","x":"$http_x"}',
    '{ "x": "$http_x", "uri": "$request_uri", "m": "$request_method", "ua": "$http_user_agent", "s": "$status" }',
    'gateway: {"r":"$request", "ua":"$http_user_agent"} {"s":$status,"x":["$http_x"]}',
)
PARSERS = {format: Nginx(format=format) for format in FORMATS}
ESCAPED = Nginx(format=f"log_format x escape=json '{FORMATS[0]}';")

#: ngx_http_log_escape, and ngx_escape_json (src/core/ngx_string.c).
_JSON = {0x22: rb"\"", 0x5C: rb"\\", 0x0A: rb"\n", 0x0D: rb"\r", 0x09: rb"\t", 0x08: rb"\b", 0x0C: rb"\f"}


def default(value: bytes) -> bytes:
    return re.sub(rb'[\x00-\x1f"\\\x7f-\xff]', lambda match: b"\\x%02X" % match[0][0], value)


def json(value: bytes) -> bytes:
    return re.sub(rb'[\x00-\x1f"\\]', lambda match: _JSON.get(match[0][0], b"\\u%04x" % match[0][0]), value)


CLIENTS = st.binary(max_size=30) | st.lists(
    st.sampled_from([b'"', b"\\", b'","s":200,"x":"', b'"}', b"\\x22", b"\\u0022", b"{", b", ", b": ", b"\n", b"s", b"\xff"]),
    max_size=8,
).map(b"".join)  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data(), agent=CLIENTS, other=CLIENTS, query=CLIENTS)
def test_no_client_forges_or_hides_a_field(
    format: str, data: st.DataObject, agent: bytes, other: bytes, query: bytes
) -> None:
    escape = data.draw(st.sampled_from([default, json]))
    target = b"/v1/info?" + query
    values = {
        "http_user_agent": escape(agent), "http_x": escape(other), "status": b"504", "request_method": b"GET",
        "request_uri": escape(target), "request": escape(b"GET " + target + b" HTTP/1.1"),
    }  # fmt: skip
    line = re.sub(rb"\$(\w+)", lambda match: values[match[1].decode()], format.encode())
    assert b"\n" not in line
    batch = PARSERS[format].parse(line + b"\n")
    assert (batch.observed, batch.unparsed) == (1, {})
    (request,) = batch.records
    assert isinstance(request, Request)
    assert request.status_code == "504"
    is_request_line = b"$request_uri" in format.encode() or not re.search(rb"[ \n]", query)
    assert request.route == "/v1/info" or not is_request_line
    if format == FORMATS[0]:
        assert ESCAPED.parse(line + b"\n").records == batch.records


@pytest.mark.parametrize("format", FORMATS)
@given(
    log=st.lists(
        CLIENTS | st.sampled_from([b'{"ua":"a\\"","s":200,"r":"GET / HTTP/1.1","x":"\\x22"}', b"\n"]), max_size=9
    )
)
def test_the_laws_hold(format: str, log: list[bytes]) -> None:
    check_laws(PARSERS[format], b"\n".join(log), [5, 40])


@pytest.mark.parametrize("noise", [b'\\"', b"\\\\", b'"', b"\\x22", b'","s":', b"\\"])
def test_quotes_are_read_in_linear_time(noise: bytes) -> None:
    check_linear(PARSERS[FORMATS[0]], b'{"ua":"', noise, b'","s":200,"r":"GET / HTTP/1.1","x":""}')
