"""Reads the listen addresses of the configuration."""


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[::1]:port`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'listen must be host:port such as 127.0.0.1:9877, found "{text}"')
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A host name other than localhost counts as public."""
    from ipaddress import ip_address  # slow, and `replay` does not need it

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
