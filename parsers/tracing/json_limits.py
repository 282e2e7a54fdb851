"""Limits of JSON bodies: what is decoded at once must not take much more memory than the body itself."""

from parsers.tracing.reading import TooManyItems
from parsers.values.json import has_more_tokens

#: JSON of more bytes must be valid. Shorter JSON may hold NaN or half a surrogate pair, as Python writes them.
LONGEST_REPAIRED = 1 << 20

#: The largest number of strings, commas and opening brackets in a large body. 8,192 spans have about 2,000,000.
MAX_TOKENS = 3_000_000
#: A smaller body cannot take much memory.
_LARGE = 1 << 20


def check_tokens(body: bytes) -> None:
    """Raise TooManyItems for a body with more than MAX_TOKENS tokens."""
    if len(body) > _LARGE and has_more_tokens(body, MAX_TOKENS):
        raise TooManyItems(f"the JSON body has more than {MAX_TOKENS} tokens")
