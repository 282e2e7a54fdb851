"""Reads HTTP Basic credentials (RFC 7617), for the endpoint and for the receiver."""

from base64 import b64decode


def basic_credentials(authorization: bytes) -> tuple[bytes, bytes] | None:
    """User and password in the value of an Authorization header; None if it has none."""
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = b64decode(token.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password) if colon else None
