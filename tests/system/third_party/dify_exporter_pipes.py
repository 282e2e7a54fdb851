"""A parser that somebody else ships: `GET|/v1/info|200`, one request a line."""

from parsers.batch import Batch, Request
from parsers.http import failure_of, method_of, status_code_of
from parsers.parser import Parser
from parsers.routes import table
from parsers.window import whole_lines


class Pipes(Parser, frozen=True):
    separator: str = "|"

    def parse(self, window: bytes, final: bool = False) -> Batch:
        consumed, lines = whole_lines(window, final)
        fields = [line.split(self.separator.encode()) for line in window[:consumed].splitlines()]
        records = tuple(
            Request(
                method_of(method),
                table().of_target(target),
                status_code_of(status),
                failure_of(status.decode()),
            )
            for method, target, status in (f for f in fields if len(f) == 3)
        )
        unparsed = {"format": lines - len(records)} if lines > len(records) else {}
        return Batch(consumed, lines, 0, unparsed, dict.fromkeys(unparsed, b""), None, records)
