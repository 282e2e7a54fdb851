"""What the tests of several cases share: lines, a configuration in a folder, and the commands."""

import re
from pathlib import Path

from click.testing import CliRunner, Result

from exporter.cli import main
from parsers.batch import Batch

CASES = Path(__file__).parent
REAL = CASES.parent / "real_dify"

ACCESS = b"2026-11-29 08:00:01.100 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 3.2 "
NGINX = b'10.1.1.1 - - [29/Nov/2026:08:00:01 +0000] "GET /v1/info HTTP/1.1" 200 15 "-" "curl/8" "-"'


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def requests_of(exposition: str) -> float:
    return sum(float(value) for value in re.findall(r"(?m)^dify_requests_total\{.*\} (\S+)$", exposition))


def configured(folder: Path, *sources: str) -> str:
    tables = "".join(f"[[source]]\n{source}\n" for source in sources)
    (folder / "exporter.toml").write_text(f'[exporter]\nstate = ""\nstart_at = "beginning"\n{tables}')
    return str(folder / "exporter.toml")


def counted(batch: Batch) -> int:
    """The events of all records."""
    return sum(getattr(record, "count", 1) for record in batch.records)
