"""How a request and its response are passed on: unchanged, or translated (openai.py)."""

from collections.abc import Iterable

from exporter.proxy.headers import Fields


class Translator:
    """Passes on one request and its response. This one changes nothing.

    `target` and `body` are sent to Dify; `body` is None without a body. `framing` holds the fields that frame it.
    """

    def __init__(self, target: str, body: Iterable[bytes], framing: Fields) -> None:
        self.target, self.framing = target, framing
        self.body: Iterable[bytes] | None = body if framing else None

    def request_fields(self, received: Fields) -> Fields:
        """The fields of the request to Dify with its framing, made from the client's fields."""
        return [*received, *self.framing]

    def response_fields(self, status_code: int, received: Fields) -> Fields:
        """The fields of the response to the client, made from the status and the fields of Dify's response."""
        return received

    def feed(self, piece: bytes) -> bytes:
        """Translate a piece of Dify's response. Returns b"" if the client gets nothing yet."""
        return piece

    def finish(self) -> bytes:
        """The rest of the response, after Dify's last piece."""
        return b""
