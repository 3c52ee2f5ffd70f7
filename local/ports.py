"""Ports: a free one, and a clear word when a wanted one is taken."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

from schema.errors import ConfigError

PORTS = range(15_000, 32_000)
"""Below the ports that Linux gives to outgoing connections: one of those may be taken again before its server starts."""


def free_port(together: int = 1) -> int:
    """The first of `together` ports in a row on loopback, all of `PORTS`, that nothing uses at this moment.

    Raises:
        OSError: none was found.
    """
    for _ in range(200):
        first = random.choice(PORTS[:-together])
        with ExitStack() as probes:
            try:
                for port in range(first, first + together):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise OSError("no free port")


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
