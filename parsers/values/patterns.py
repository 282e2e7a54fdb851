"""Regular expressions that are compiled when they are first used.

The program has more than two hundred of them, and a log needs only a few. Compiling all of them would take an eighth
of the time of a start.
"""

import re
from functools import cached_property
from typing import Any, AnyStr, cast


class _LazyPattern:
    def __init__(self, text: Any, flags: int) -> None:
        self._text, self._flags = text, flags

    @cached_property
    def _compiled(self) -> re.Pattern[Any]:
        return re.compile(self._text, self._flags)

    def __getattr__(self, name: str) -> Any:
        """Return a method of the compiled pattern. The next lookup finds it without this method."""
        found = getattr(self._compiled, name)
        setattr(self, name, found)
        return found


def lazy(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Like `re.compile`, but a text that is no regular expression raises re.error only at its first use.

    The result has all methods of a pattern, and cannot be an argument of the functions of `re`.
    """
    return cast(re.Pattern[AnyStr], _LazyPattern(text, flags))
