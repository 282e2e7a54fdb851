"""Envelopes: parsers that hold a parser, around the lines of a container, a syslog or a shipper."""

from collections.abc import Callable

from parsers.envelope.compose import Compose, services
from parsers.envelope.cri import Cri
from parsers.envelope.docker import Docker
from parsers.envelope.envelope import Envelope
from parsers.envelope.json import Json
from parsers.envelope.pieces import Piece
from parsers.envelope.syslog import Syslog

__all__ = ["ENVELOPES", "Compose", "Cri", "Docker", "Envelope", "Json", "Piece", "Syslog", "services"]

ENVELOPES: dict[str, Callable[..., Envelope]] = {
    "docker": Docker,
    "cri": Cri,
    "compose": Compose,
    "syslog": Syslog,
    "json": Json,
}
