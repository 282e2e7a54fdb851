"""Why logs cannot be read."""

from collections.abc import Callable

from exporter.messages import address
from exporter.tail.validation import MalformedError, is_built_in, validate_batch
from parsers.batch import Batch
from parsers.parser import Parser
from parsers.slices import Parse


class InputError(Exception):
    """An input cannot be read. The message is one sentence: which input, and why."""


class ParserError(InputError):
    """The parser of an input has a fault. The message does not name the input; `of` does."""

    def of(self, file: str) -> InputError:
        return InputError(f"{address(file)}: {self}")


class WorkersError(Exception):
    """The processes that parse have failed, so there is no result. The message is one sentence: why, and what to do."""


def parse_whole(parser: Parser, log: bytes) -> Batch:
    """The batch of a log that ends behind its last byte. Raises ParserError."""
    return _valid(parser, len(log), lambda: parser.parse(log, final=True))


def parse_or_refuse(parser: Parser, log: bytes) -> tuple[Batch, str]:
    """Like `parse_whole`, and "". If the parser has a fault: a batch of unparsed lines only, and a sentence about the
    fault.
    """
    try:
        return parse_whole(parser, log), ""
    except ParserError as error:
        return Parser().parse(log, final=True), str(error)


def parse_parts(parser: Parser, line_length: int) -> Parse:
    """The `parse_part` of a parser. It raises ParserError."""

    def parse(window: bytes, final: bool, skip: tuple[str, ...]) -> Batch:
        return _valid(parser, len(window), lambda: parser.parse_part(window, final, skip, line_length))

    return parse


def _valid(parser: Parser, size: int, parse: Callable[[], Batch]) -> Batch:
    try:
        batch = parse()
        validate_batch(size, batch, is_built_in(parser))
    except MalformedError as error:
        wrong = str(error)
    except Exception as error:
        wrong = f"parse raised {type(error).__name__}, expected Batch"
    else:
        return batch
    raise ParserError(f"this parser has a fault: {wrong}; ask its author")
