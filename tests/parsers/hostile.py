"""Logs that may break parsers: real lines with a few bytes changed, in real envelopes, and noise of any length."""

import json

from hypothesis import strategies as st

from tests.golden import ROOT

SAMPLE_LINES = sorted({line for f in (ROOT / "samples").glob("*.log") for line in f.read_bytes().splitlines(True)})

#: Bytes that end, begin or escape a part of one of the formats.
PIECES = [
    *(bytes([b]) for b in b'"\\ |[]{}():,;=-%/?#0a\t\r\n\x00\x1b\x7f\xff\xc2\x85'),
    b"\\n",
    b'\\"',
    b"\\ud800",
    b"NaN",
    b"1e999",
    b"-1",
    b"\xe2\x80\xa8",
    b"\x1b[31m",
    b" 200 1 ",
    b", ",
    b" : ",
    b"%0A",
    b"%2F",
    b"\r\n",
]
COMPOSE = [
    b"api-1  | ",
    b"\x1b[36mredis-1  |\x1b[0m ",
    b"dify_api.1.k3j9d0s8f7g6h5j4k3l2m1n0p@node-1    | ",
    b"[pod/dify-api-5d9c8b7f6-abcde/api] 2026-11-29T08:00:01.123456789Z ",
]
SYSLOG = [
    b"Nov 29 08:00:01 host api[17]: ",
    b'<30>1 2026-11-29T08:00:01.123Z host api 17 - [a@1 k="v\\" ] x"] \xef\xbb\xbf',
    b"Sun 2026-11-29 08:00:01 UTC host docker.service[12]: ",
]
WHOLE = [
    b"\n",
    b"\r\n",
    b"\x00" * 50,
    b"\xff\xfe\n",
    b'{"log":"a\\nb\\n","stream":"stdout"}\n',
    b'{"log":"","stream":"stdout"}\n',
    b'{"log":"%s","stream":"stdout"}\n' % (b"x" * 16_384),
    b'{"ts":"2026-11-23T08:53:31.404Z","message":"\\ud800"}\n',
    b"[" * 3000 + b"\n",
    b'{"a":' * 1200 + b"\n",
    b'"' * 300 + b"\n",
    b"2026-11-23 08:53:08.820 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /a\x85\xe2\x80\xa8b 200 1 \n",
    b"2026-11-23T08:53:31Z stdout P \n",
    b"2026-11-23T08:53:31Z stderr F\n",
    b"api-1  | \n",
    # Invalid values in lines that count.
    b"2026-13-45 08:53:08.820 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 1.5 \n",
    b'[GIN] 2026/13/45 - 08:53:08 | 200 | 1.5ms | 10.0.0.1 | POST "/plugin/t/dispatch/llm/invoke"\n',
    b'{"ts":"2026-13-45T08:53:31.404Z","severity":"INFO","caller":"x.py:1","message":"x"}\n',
    b'{"ts":"2026-11-23T08:56:42.240Z","message":"telemetry.span_detail","attributes":{"dify.event.name":'
    b'"dify.node.execution","dify.node.type":"llm","dify.node.elapsed_time":-1,"gen_ai.usage.input_tokens":"x",'
    b'"dify.node.total_price":"NaN"}}\n',
    b'1.2.3.4 - - [31/Feb/2026:08:53:08 +0000] "GET /v1/info HTTP/1.1" 200 99999999999999999999 "-" "-" "-"\n',
    b"<30>1 2026-11-29T08:00:01Z - - - - -\n",
    b'{"MESSAGE":[104,105,255]}\n',
    b'{"message":"a","logtag":"P"}\n',
]


@st.composite
def _changed(draw: st.DrawFn) -> bytes:
    """Return a line of a sample with a few parts removed, doubled or overwritten."""
    line = draw(st.sampled_from(SAMPLE_LINES))
    for _ in range(draw(st.integers(0, 3))):
        begin, length = draw(st.integers(0, len(line))), draw(st.integers(0, 8))
        piece = draw(st.sampled_from(PIECES) | st.just(line[begin : begin + length] * 2))
        line = line[:begin] + piece + line[begin + length :]
    return line


@st.composite
def _enveloped(draw: st.DrawFn) -> bytes:
    """Return a line as a container runtime stores it, whole or in pieces."""
    line = draw(_changed())
    cut, stream = draw(st.integers(0, len(line))), draw(st.sampled_from(["stdout", "stderr"]))
    kind = draw(st.sampled_from(["docker", "docker in pieces", "cri", "cri in pieces", "compose", "syslog", "json"]))
    if kind == "compose":
        return draw(st.sampled_from(COMPOSE)) + line
    if kind == "syslog":
        return draw(st.sampled_from(SYSLOG)) + line
    if kind == "json":
        member = draw(st.sampled_from(["log", "message", "MESSAGE", "line"]))
        return json.dumps({member: line.decode("utf-8", "replace"), "stream": stream, "logtag": "FP"[cut % 2]}).encode()
    pieces = [line[:cut], line[cut:]] if kind.endswith("pieces") else [line]
    if kind.startswith("docker"):
        texts = (piece.decode("utf-8", "replace") for piece in pieces)
        return b"".join(json.dumps({"log": text, "stream": stream}).encode() + b"\n" for text in texts)
    head = b"2026-11-23T08:53:31.404Z " + stream.encode()
    *parts, last = (piece.replace(b"\n", b"") for piece in pieces)
    return b"".join(head + b" P " + part + b"\n" for part in parts) + head + b" F " + last + b"\n"


LINES = _changed() | _enveloped() | st.sampled_from(WHOLE) | st.binary(max_size=60)
LOGS = st.lists(LINES, max_size=8).map(b"".join)
CUTS = st.lists(st.integers(0, 4000), max_size=6)

#: Noise that is repeated to a line of any length, behind every beginning that a parser knows.
NOISE = [
    *PIECES,
    b'" "',
    b" - ",
    b": ",
    b"a=",
    b'a="',
    b"/a",
    b"/models",
    b"/plugin/",
    b"] [",
    b"connect() failed (104: ",
    b'user_id=" ',
    b"Invoke",
    b"Error in stream response for plugin ",
    b"plugin returned error response",
    b" args=map[",
    b'" 200 1s map[',
    b" error=",
    b"1m",
    b"1e",
    b"\\u00",
    b'{"a":',
]
