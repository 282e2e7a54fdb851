"""Limits of JSON bodies: what is decoded at once must not take much more memory than the body itself."""

import re
from itertools import islice

from parsers.tracing.reading import TooManyItems

#: JSON of more bytes must be valid. Shorter JSON may hold NaN or half a surrogate pair, as Python writes them.
LONGEST_REPAIRED = 1 << 20

#: The largest number of strings, commas and opening brackets in a large body. 8,192 spans have about 2,000,000.
MAX_TOKENS = 3_000_000
#: A smaller body cannot take much memory.
_LARGE = 1 << 20
#: A string, and what separates values. A string is matched in parts of up to 1,000 escapes: the engine remembers each
#: repetition of a group. No part is tried twice, so this takes linear time.
_TOKEN = re.compile(rb'(?:"|\\.)[^"\\]*+(?:\\.[^"\\]*+){0,999}"?|[,{\[]', re.DOTALL)


def check_tokens(body: bytes) -> None:
    """Raise TooManyItems for a body with more than MAX_TOKENS tokens."""
    if len(body) > _LARGE and next(islice(_TOKEN.finditer(body), MAX_TOKENS, None), None) is not None:
        raise TooManyItems(f"the JSON body has more than {MAX_TOKENS} tokens")
