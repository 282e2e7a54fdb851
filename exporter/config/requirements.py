"""What `serve` requires of a configuration, at its start and at a reload."""

from collections.abc import Iterator
from pathlib import Path

from exporter.config.settings import Config

NO_SOURCE = "no [[source]] table, expected at least one; see exporter.toml for examples"


def reload_problems(file: Path, old: Config, new: Config) -> Iterator[str]:
    """One sentence for each reason why a running exporter cannot change from the old to the new configuration."""
    for key in ("listen", "state"):
        if getattr(old.exporter, key) != getattr(new.exporter, key):
            yield f"{file}: [exporter]: {key} cannot change while the exporter runs: restart it, or undo the change"
    if old.buckets != new.buckets:
        yield (
            f"{file}: [buckets] cannot change while the exporter runs, because histograms would start again at 0: "
            "restart it, or undo the change"
        )
    if not new.sources:
        yield f"{file}: {NO_SOURCE}"
