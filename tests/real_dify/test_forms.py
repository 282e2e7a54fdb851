"""A real Dify's records count the same in every form in which Dify can write them."""

from collections.abc import Callable

import pytest

from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.metrics.exposition import render
from parsers.dify import Dify
from parsers.envelope import Cri, Docker
from parsers.parser import Parser
from tests.real_dify import forms

LOGS = ["text/api.log.gz", "text/worker.log.gz", "incidents/api.log", "incidents/worker.log"]


def counted(parser: Parser, log: bytes) -> list[str]:
    """The samples that a log gives, without those that count lines and bytes."""
    ledger = Ledger(Limits(), lambda: 1796000000.0)
    ledger.enter("dify", parser.parse(log, final=True))
    samples = render(ledger.snapshot(None), {}).decode().splitlines()
    return sorted(
        line for line in samples if not line.startswith(("#", "dify_exporter_")) and not line.endswith(" 0.0")
    )


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize(
    ("parser", "form", "envelope"),
    [
        (Dify(), forms.text, None),
        (Dify(), forms.source_install, None),
        (Dify(), forms.structured, None),
        (Docker(parser=Dify()), forms.text, forms.docker),
        (Docker(parser=Dify()), forms.structured, forms.docker),
        (Cri(parser=Dify()), forms.source_install, forms.cri),
    ],
    ids=["text", "source install", "json", "text in docker", "json in docker", "source install in cri"],
)
def test_every_form_counts_the_same(
    name: str, parser: Parser, form: Callable[[forms.Record], str], envelope: Callable[[str], str] | None
) -> None:
    log = forms.without_cut_access_lines(forms.without_unreached_daemon(forms.read(name)))
    counts = counted(Dify(), log)
    assert counts
    assert counted(parser, forms.rewritten(log, form, envelope)) == counts
