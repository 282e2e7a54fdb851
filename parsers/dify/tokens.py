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
        input_tokens, output_tokens, total = map(token_count, self._values)
        parts = (input_tokens or 0) + (output_tokens or 0)
        if not parts:
            return None, None, total
        return input_tokens, output_tokens, total - parts if total is not None and total > parts else None

    @property
    def invalid(self) -> list[Any]:
        """The values that are not counts."""
        return [value for value in self._values if value is not None and token_count(value) is None]

    @property
    def missing(self) -> str:
        """The `reason` of a UsageMissing record if the usage is required; "" if it is complete.

        It is `absent`, `zero`, or `inconsistent`: a value is not a count, or the total is not the sum of its parts.
        """
        if self._values == (None, None, None):
            return "absent"
        *parts, total = map(token_count, self._values)
        known = [part for part in parts if part is not None]
        if self.invalid or (known and total is not None and total != sum(known)):
            return "inconsistent"
        return "" if any(known) or total else "zero"

    @property
    def _values(self) -> tuple[Any, Any, Any]:
        return self.input, self.output, self.total
