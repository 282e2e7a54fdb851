"""A parser that somebody else ships: `GET|/v1/info|200`, one request a line."""

from parsers.access.routes import table
from parsers.batch import Batch, Request
from parsers.lines import Outcome, by_line
from parsers.parser import Parser
from parsers.values.http import failure_of, method_of, status_code_of


class Pipes(Parser, frozen=True):
    separator: str = "|"

    def parse(self, window: bytes, final: bool = False) -> Batch:
        return by_line(window, final, self._line)

    def _line(self, line: bytes) -> Outcome:
        fields = line.split(self.separator.encode())
        if len(fields) != 3:
            return "format"
        status_code = status_code_of(fields[2])
        request = Request(method_of(fields[0]), table().of_target(fields[1]), status_code, failure_of(status_code))
        return (request,), None
