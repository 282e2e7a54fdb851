"""The configuration of a source."""

from msgspec import Struct

from parsers.parser import Parser


class SourceConfig(Struct, frozen=True):
    """One `[[source]]` table. `parser` includes the envelope; the paths and globs are absolute."""

    name: str
    paths: tuple[str, ...]
    parser: Parser
    log_patterns: tuple[str, ...] = ()


class SourceOptions(Struct, frozen=True):
    """All options of a source. If they are equal, the source keeps running. `poll_interval` is in seconds,
    `line_length` in bytes.
    """

    config: SourceConfig
    poll_interval: float = 1.0
    line_length: int = 1 << 20
