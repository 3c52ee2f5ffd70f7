"""Clients of server-sent events: each is told the newest value of each key, however many came while it was slow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Final, Generic, TypeVar

FLUSH_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 1.0
"""So often a stream on which nothing happens gives way, so that a client that went away is noticed."""
HEARTBEAT_SECONDS: Final = 15.0

K = TypeVar("K")
V = TypeVar("V")


class Newest(Generic[K, V]):
    """One client: what changed since it was last told. `tell` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: dict[K, V] = {}
        self._changed = asyncio.Event()

    def tell(self, key: K, value: V) -> None:
        """Remember a value, in the place of an earlier one of the same key."""
        with self._lock:
            first = not self._waiting
            self._waiting[key] = value
        if first:
            self._loop.call_soon_threadsafe(self._changed.set)

    async def take(self, seconds: float) -> dict[K, V]:
        """What changed; waits for it at most `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return {}
        self._changed.clear()
        with self._lock:
            taken, self._waiting = self._waiting, {}
        return taken

    async def frames(self, frame: Callable[[K, V], bytes], is_closing: Callable[[], bool]) -> AsyncGenerator[bytes]:
        """The body of the client's stream; an empty frame says nothing but that time has passed."""
        yield b": connected\n\n"
        loop = asyncio.get_running_loop()
        told_at = loop.time()
        while not is_closing():
            if taken := await self.take(LOOK_SECONDS):
                told_at = loop.time()
                yield b"".join(frame(key, value) for key, value in taken.items())
                await asyncio.sleep(FLUSH_SECONDS)
            elif loop.time() - told_at >= HEARTBEAT_SECONDS:
                told_at = loop.time()
                yield b": still here\n\n"
            else:
                yield b""
