"""A stream through a parser: each line once, whatever the windows, and one that is too long is one."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import feed as module
from exporter.feed import feed
from parsers.batch import Batch
from parsers.nginx import Nginx
from tests.parsers.laws import summed

PARSER = Nginx(format='"$request" $status')
LIMIT = 40
LINES = st.sampled_from(
    [b"", b"x", b'"GET / HTTP/1.1" 200', b"y" * (LIMIT - 2), b"y" * (LIMIT - 1), b"y" * LIMIT, b"z" * 500]
)


def expected(lines: list[bytes], ended: bool) -> list[Batch]:
    found = []
    for number, line in enumerate(lines):
        text = line + b"\n" if ended or number + 1 < len(lines) else line
        if len(text) > LIMIT or (len(text) == LIMIT and not text.endswith(b"\n")):
            found.append(Batch(len(text), 1, unparsed={"too_long": 1}))
        else:
            found.append(PARSER.parse(text, final=True))
    return found


@settings(max_examples=200)
@given(lines=st.lists(LINES, max_size=20), ended=st.booleans(), block=st.integers(1, 300), singly=st.booleans())
def test_each_line_is_read_once(lines: list[bytes], ended: bool, block: int, singly: bool) -> None:
    log = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        patch.setattr(module, "_PASSED", block)
        found = list(feed(io.BytesIO(log).read, PARSER, LIMIT, singly=singly))
    assert summed(found) == summed(expected(lines, ended))
    assert sum(batch.consumed for batch in found) == len(log)
