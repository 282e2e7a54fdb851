"""The three token counts that a log tells of a model call, as they are, and what they are worth."""

from typing import Any

from msgspec import Struct

from parsers.values.numbers import token_count


class Told(Struct, frozen=True, gc=False):
    """Values from JSON; None where nothing is told. One that is no count is dropped."""

    input: Any = None
    output: Any = None
    total: Any = None

    @property
    def split(self) -> tuple[int | None, int | None, int | None]:
        """Input, output and unsplit tokens; unsplit ones where only a total is known."""
        given, produced = token_count(self.input), token_count(self.output)
        return (given, produced, None) if given or produced else (None, None, token_count(self.total))

    @property
    def something(self) -> bool:
        return any(self.split)

    @property
    def missing(self) -> str:
        """Why usage that must be there cannot be believed: absent, inconsistent (a value is no count, or the total is
        less than its parts) or zero; "" where it can.
        """
        told = [value for value in (self.input, self.output, self.total) if value is not None]
        if not told:
            return "absent"
        counts = [token_count(value) for value in told]
        total, parts = token_count(self.total), sum(count or 0 for count in self.split[:2])
        if None in counts or (total is not None and total < parts):
            return "inconsistent"
        return "zero" if not any(counts) else ""
