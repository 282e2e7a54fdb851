"""Every sample log has the exposition it must give, and leaks nothing."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.tail.source_config import SourceConfig
from parsers.batch import Failure, Request
from tests.golden import ROOT, config, exposition, golden_file

SOURCES = config().sources


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_sample_gives_its_golden_exposition(source: SourceConfig) -> None:
    assert exposition(source).decode() == golden_file(source).read_text(), "`make golden` writes it anew"


def test_every_sample_is_a_source_and_documented() -> None:
    logs = {path.name for path in (ROOT / "samples").glob("*.log")}
    assert logs == {path.rsplit("/", 1)[1] for source in SOURCES for path in source.paths}
    readme = (ROOT / "samples/README.md").read_text()
    assert [name for name in logs if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_sample_is_mostly_understood_and_yields_something(source: SourceConfig) -> None:
    text = golden_file(source).read_text()
    lines = {
        s.labels["outcome"]: s.value
        for f in text_string_to_metric_families(text)
        for s in f.samples
        if s.name == "dify_exporter_lines_total"
    }
    assert lines["observed"] > sum(lines.values()) / 4
    assert lines["unparsed"] <= sum(lines.values()) / 20
    assert re.search(r"^dify_(?!exporter)\w+(_total|_count)\{.*\} [1-9]", text, re.MULTILINE)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_parser_tells_the_failures_that_it_declares(source: SourceConfig) -> None:
    parser = source.parser
    batch = parser.parse(Path(source.paths[0]).read_bytes(), final=True)
    kinds = {record.kind for record in batch.records if isinstance(record, Failure)}
    reasons = {record.failure for record in batch.records if isinstance(record, Request)}
    assert kinds <= parser.error_kinds(batch)
    assert reasons <= parser.failure_reasons(batch) | {""}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_no_canary_gets_out(source: SourceConfig) -> None:
    """The samples hold prompts, keys, users and query strings that are called CANARY."""
    assert b"CANARY" not in exposition(source)
