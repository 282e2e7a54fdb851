"""The three token counts that a log reports for a model call, and whether they are complete and consistent."""

from typing import Any

from msgspec import Struct

from parsers.values.numbers import token_count


class TokenCounts(Struct, frozen=True, gc=False):
    """Values from JSON, None where the log reports nothing. A value that is not a count is dropped."""

    input: Any = None
    output: Any = None
    total: Any = None

    @property
    def split(self) -> tuple[int | None, int | None, int | None]:
        """Input, output and unsplit tokens. Unsplit tokens are those of the total beyond input and output."""
        input_tokens, output_tokens, total = (token_count(value) for value in (self.input, self.output, self.total))
        parts = (input_tokens or 0) + (output_tokens or 0)
        if not parts:
            return None, None, total
        return input_tokens, output_tokens, total - parts if total is not None and total > parts else None

    @property
    def invalid(self) -> list[Any]:
        """The values that are not counts."""
        return [
            value for value in (self.input, self.output, self.total) if value is not None and token_count(value) is None
        ]

    @property
    def missing(self) -> str:
        """The `reason` of a UsageMissing record if the usage is required; "" if it is complete.

        It is `absent`, `zero`, or `inconsistent`: a value is not a count, or the total is not the sum of its parts.
        """
        values = [value for value in (self.input, self.output, self.total) if value is not None]
        if not values:
            return "absent"
        counts = [token_count(value) for value in values]
        if None in counts or not self._adds_up:
            return "inconsistent"
        return "zero" if not any(counts) else ""

    @property
    def _adds_up(self) -> bool:
        """Whether the total is the sum of its parts. It is True if the log does not report both."""
        parts = [count for count in (token_count(self.input), token_count(self.output)) if count is not None]
        total = token_count(self.total)
        return total is None or not parts or total == sum(parts)
