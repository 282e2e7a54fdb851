"""Envelopes: parsers that remove what a container, a syslog daemon or a log shipper adds, and call an inner parser."""

from collections.abc import Callable

from parsers.envelope.compose import Compose, services
from parsers.envelope.cri import Cri
from parsers.envelope.docker import Docker
from parsers.envelope.envelope import Envelope, inner_of, with_options
from parsers.envelope.json import Json
from parsers.envelope.pieces import LinePiece
from parsers.envelope.syslog import Syslog

__all__ = [
    "ENVELOPES", "Compose", "Cri", "Docker", "Envelope", "Json", "LinePiece", "Syslog", "inner_of", "services",
    "with_options",
]  # fmt: skip

ENVELOPES: dict[str, Callable[..., Envelope]] = {
    "docker": Docker,
    "cri": Cri,
    "compose": Compose,
    "syslog": Syslog,
    "json": Json,
}
