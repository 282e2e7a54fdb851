"""The three token counts that a log reports for a model call, and what they are worth."""

from typing import Any

from msgspec import Struct

from parsers.values.numbers import token_count


class TokenCounts(Struct, frozen=True, gc=False):
    """Values from JSON; None where the log reports nothing. A value that is no count is dropped."""

    input: Any = None
    output: Any = None
    total: Any = None

    @property
    def split(self) -> tuple[int | None, int | None, int | None]:
        """Input, output and unsplit tokens. Unsplit is what the total has more than input and output."""
        given, produced, total = (token_count(value) for value in (self.input, self.output, self.total))
        parts = (given or 0) + (produced or 0)
        if not parts:
            return None, None, total
        return given, produced, total - parts if total is not None and total > parts else None

    @property
    def unread(self) -> list[Any]:
        """Values that are no counts."""
        return [
            value for value in (self.input, self.output, self.total) if value is not None and token_count(value) is None
        ]

    @property
    def missing(self) -> str:
        """Why usage that must be there cannot be believed: absent, inconsistent (a value is no count, or the total is
        not the sum of its parts) or zero; "" where it can.
        """
        told = [value for value in (self.input, self.output, self.total) if value is not None]
        if not told:
            return "absent"
        counts = [token_count(value) for value in told]
        if None in counts or not self._adds_up:
            return "inconsistent"
        return "zero" if not any(counts) else ""

    @property
    def _adds_up(self) -> bool:
        """Whether the total is the sum of its parts, where the log reports both."""
        parts = [count for count in (token_count(self.input), token_count(self.output)) if count is not None]
        total = token_count(self.total)
        return total is None or not parts or total == sum(parts)
