"""Why logs cannot be read."""

from exporter.messages import address


class InputError(Exception):
    """An input cannot be read. The message is one sentence: which input, and why."""


class ParserError(InputError):
    """The parser of an input has a fault. The message does not name the input; `of` does."""

    def of(self, file: str) -> InputError:
        return InputError(f"{address(file)}: {self}")


class WorkersError(Exception):
    """The processes that parse have failed, so there is no result. The message is one sentence: why, and what to do."""
