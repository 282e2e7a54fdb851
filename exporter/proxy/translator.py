"""How a request and its answer go through: as they are, or translated (openai.py)."""

from collections.abc import Iterable
from typing import Protocol

from exporter.proxy.body import RequestBody
from exporter.proxy.headers import Fields


class Translator(Protocol):
    """`target` and `body` are those of the request to Dify; a request without a body has None."""

    @property
    def target(self) -> str: ...
    @property
    def body(self) -> Iterable[bytes] | None: ...
    def fields(self, received: Fields) -> Fields:
        """The fields of the request to Dify, from the client's, its framing among them."""

    def answered(self, status_code: int, received: Fields) -> Fields:
        """The fields of the answer to the client, from Dify's."""

    def feed(self, piece: bytes) -> bytes:
        """The client's piece of the answer for one of Dify's, b"" where there is none yet."""

    def finish(self) -> bytes:
        """What remains after Dify's last piece."""


class Unchanged:
    """Everything passes as it is."""

    def __init__(self, target: str, body: RequestBody) -> None:
        self.target = target
        self.body = body if body.expected else None
        self._framing = body.fields

    def fields(self, received: Fields) -> Fields:
        return [*received, *self._framing]

    def answered(self, status_code: int, received: Fields) -> Fields:
        return received

    def feed(self, piece: bytes) -> bytes:
        return piece

    def finish(self) -> bytes:
        return b""
