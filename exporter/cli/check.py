"""`dify-exporter check`"""

import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from textwrap import TextWrapper

import click
from msgspec import structs

from exporter.advice import alerts
from exporter.advice.audit import audit
from exporter.advice.doctor import Examined, Finding, absent, examine, overlaps
from exporter.advice.programs import examine_proxy, examine_receiver
from exporter.cli.options import config_option, load_or_stop
from exporter.config.settings import NO_SOURCE
from exporter.config.wsgi import ProxyConfig, ReceiveConfig
from exporter.ledger.ledger import Ledger
from exporter.messages import counted, printable, some
from exporter.replay.detect import parser_name
from parsers.batch import Batch

#: A line about alerts names this many of their sources.
_NAMED_SOURCES = 3


@click.command(short_help="Report what each source provides and which alerts can fire.")
@config_option
def check(config_path: Path) -> None:
    """Examine the configuration and each source: what it provides, what is missing, and which alerts can fire.

    \b
    Examples:
      dify-exporter check
      dify-exporter check --config /etc/dify-exporter/exporter.toml
    """
    config = load_or_stop(config_path)
    click.echo(f"{config_path}: every key and value is valid; the findings about its logs follow")
    problems = 0
    read_files: dict[str, Examined] = {}
    ledger = Ledger(config.limits, time.time, config.buckets, config.prices, config.budgets, is_stored=False)
    for source in config.sources:
        found = read_files[source.name] = Examined()
        problems += _print_findings(f"{source.name} ({parser_name(source.parser)})", examine(source, found))
        ledger.open(source.name)
        for batch in found.batches:
            ledger.enter(source.name, batch)
    records = {name: found.records() for name, found in read_files.items()}
    folder = config_path.absolute().parent
    has_proxy, has_receiver = config.proxy != ProxyConfig(), config.receive != ReceiveConfig()
    needs_source = not (config.sources or has_proxy or has_receiver)
    _print_findings("absent from these logs", absent(config.sources, read_files))
    problems += _print_findings("overlaps", overlaps(config.sources))
    problems += _print_findings("money", audit(config, records))
    problems += _print_findings("proxy", examine_proxy(config, folder) if has_proxy else ())
    problems += _print_findings("receiver", examine_receiver(config, folder) if has_receiver else ())
    problems += _print_findings("sources", [Finding(NO_SOURCE, problem=True)] if needs_source else ())
    if config.sources:
        empty = [name for name, found in read_files.items() if not any(batch.lines for batch in found.batches)]
        misread = [source.name for source in config.sources if read_files[source.name].is_misread(source.parser)]
        feeding = structs.replace(config, sources=tuple(each for each in config.sources if each.name not in misread))
        available = alerts.available_metrics(
            ledger.snapshot(time.time()), feeding, lambda name: Batch(records=records[name])
        )
        _print_alerts(alerts.evaluate(available), empty, misread)
    if problems:
        click.echo(f"\n{counted(problems, 'problem')} found: see the lines that begin with `problem:`")
        raise SystemExit(1)


def _print_findings(title: str, findings: Iterable[Finding]) -> int:
    """Print the findings under their title, if there are any. Returns the number of problems."""
    problems = 0
    for number, finding in enumerate(findings):
        if not number:
            click.echo(f"\n{title}")
        problems += finding.problem
        _echo(f"{'problem: ' if finding.problem else ''}{printable(finding.text)}")
    return problems


def _print_alerts(verdicts: list[alerts.Verdict], empty: list[str], misread: list[str]) -> None:
    """Print which alerts can fire. `empty` are the sources without any line, `misread` those of another format."""
    click.echo(f"\n{alerts.summary(verdicts)}")
    for sources, names in alerts.by_source(verdicts).items():
        _echo(f"{some(sources, _NAMED_SOURCES) or 'no source needed'}: {', '.join(names)}")
    for why, names in alerts.by_reason(verdicts).items():
        _echo(f"{', '.join(names)} cannot fire from these sources: {why}")
    if misread:
        they_feed, their = ("it feeds", "its") if len(misread) == 1 else ("they feed", "their")
        why = f"nearly no line fits the parser, so {they_feed} no alert until {their} format is right"
        _echo(f"{', '.join(misread)}: {why}")
    if empty:
        _echo(f"{', '.join(empty)}: no line yet, so the result may change; run check again when there is one")


def _echo(sentence: str) -> None:
    """Print a line of a section. On a terminal it is wrapped between words, so that its lines stay indented."""
    if sys.stdout.isatty():
        width = max(40, shutil.get_terminal_size().columns)
        wrapper = TextWrapper(width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        sentence = wrapper.fill(f"  {sentence}").removeprefix("  ")
    click.echo(f"  {sentence}")
