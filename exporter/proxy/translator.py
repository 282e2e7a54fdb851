"""How a request and its response are passed on: unchanged, or translated (openai.py)."""

from collections.abc import Iterable
from typing import Protocol

from exporter.proxy.headers import Fields
from exporter.wsgi.body import RequestBody


class Translator(Protocol):
    """Translates one request and its response. `target` and `body` are sent to Dify; `body` is None without a body."""

    @property
    def target(self) -> str: ...
    @property
    def body(self) -> Iterable[bytes] | None: ...
    def request_fields(self, received: Fields) -> Fields:
        """The fields of the request to Dify with its framing, made from the client's fields."""

    def response_fields(self, status_code: int, received: Fields) -> Fields:
        """The fields of the response to the client, made from the status and the fields of Dify's response."""

    def feed(self, piece: bytes) -> bytes:
        """Translate a piece of Dify's response. Returns b"" if the client gets nothing yet."""

    def finish(self) -> bytes:
        """The rest of the response, after Dify's last piece."""


class PassThrough:
    """Changes nothing."""

    def __init__(self, target: str, body: RequestBody) -> None:
        self.target = target
        self.body = body if body.framing else None
        self._framing = body.framing

    def request_fields(self, received: Fields) -> Fields:
        return [*received, *self._framing]

    def response_fields(self, status_code: int, received: Fields) -> Fields:
        return received

    def feed(self, piece: bytes) -> bytes:
        return piece

    def finish(self) -> bytes:
        return b""
