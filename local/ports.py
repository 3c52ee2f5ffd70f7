"""Ports: a free one, and a clear word when a wanted one is taken."""

from __future__ import annotations

import socket

from schema.errors import ConfigError


def free_port() -> int:
    """A port on loopback that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int, what: str, host: str = "127.0.0.1") -> None:
    """Check that `what` can listen on `port`.

    Raises:
        ConfigError: something listens there already.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise ConfigError(f"port {port} ({what}) is in use: stop what listens there, or set another port") from None
