"""Simple programs that could read the same logs, for comparison. Each is a function that counts the lines of a file.

`python -m benchmarks.loops NAME CORPUS FILE` runs one of them. It prints wall seconds, processor seconds and lines.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram
from pygtail import Pygtail

from benchmarks.options import OPTIONS, PATTERNS
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.replay.feed import Read, feed
from parsers.parser import Parser, registered


def parse_and_post(corpus: str, path: Path) -> int:
    """Our windows, parser and ledger, without the start of a process."""
    name, options = OPTIONS[corpus]
    with path.open("rb") as file:
        return enter(registered()[name](**options), file.read)


def enter(parser: Parser, read: Read) -> int:
    """Enter a stream into a new ledger. Returns the number of observed lines."""
    ledger = Ledger(Limits(), time.time)
    lines = 0
    for each in feed(read, parser, Limits().line_length):
        ledger.enter("source", each.batch)
        lines += each.batch.observed
    return lines


def pygtail_and_client(corpus: str, path: Path) -> int:
    """The obvious solution: Pygtail for lines, one regular expression, and prometheus_client for metrics."""
    pattern = re.compile(PATTERNS[corpus].decode())
    identifier = re.compile("[0-9a-f]{8}-[0-9a-f-]{27}")
    labels = sorted(pattern.groupindex.keys() - {"duration"})
    registry = CollectorRegistry()
    count = Counter("requests", "Requests.", labels, registry=registry)
    duration = Histogram("duration", "Durations.", labels, registry=registry)
    lines = 0
    with tempfile.TemporaryDirectory() as folder:
        for line in Pygtail(str(path), offset_file=os.path.join(folder, "offset"), save_on_end=False):
            if match := pattern.match(line):
                found = match.groupdict()
                took = found.pop("duration", None)
                values = [identifier.sub("{id}", found[label]) for label in labels]
                count.labels(*values).inc()
                if took is not None:
                    duration.labels(*values).observe(float(took))
                lines += 1
    return lines


def json_loads(corpus: str, path: Path) -> int:
    """Only decode each line with the json module of Python."""
    del corpus
    lines = 0
    with path.open() as file:
        for line in file:
            json.loads(line)
            lines += 1
    return lines


def json_loads_and_sums(corpus: str, path: Path) -> int:
    """Decode each line, and sum tokens and cost by app and model."""
    del corpus
    tokens: dict[tuple[str, str], int] = {}
    cost: dict[tuple[str, str], Decimal] = {}
    lines = 0
    with path.open() as file:
        for line in file:
            found = json.loads(line)["attributes"]
            key = found["dify.app_id"], found["gen_ai.request.model"]
            tokens[key] = tokens.get(key, 0) + found["gen_ai.usage.total_tokens"]
            cost[key] = cost.get(key, Decimal(0)) + Decimal(found["dify.node.total_price"])
            lines += 1
    return lines


def findall(corpus: str, path: Path) -> int:
    """An upper bound for parsing by rows: one regular expression on blocks of 1 MiB, without counting."""
    pattern = re.compile(PATTERNS[corpus], re.MULTILINE)
    lines, rest = 0, b""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            block = rest + block
            end = block.rfind(b"\n") + 1
            lines += len(pattern.findall(block, 0, end))
            rest = block[end:]
    return lines


LOOPS: dict[str, Callable[[str, Path], int]] = {
    each.__name__: each for each in (parse_and_post, pygtail_and_client, json_loads, json_loads_and_sums, findall)
}

if __name__ == "__main__":
    _, loop, corpus_name, file_name = sys.argv
    begun, processor = time.perf_counter(), time.process_time()
    counted = LOOPS[loop](corpus_name, Path(file_name))
    print(time.perf_counter() - begun, time.process_time() - processor, counted)
