"""Clients that cost little: each asks over one connection, one question after the other, with no library between."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Seen:
    """What was answered: the statuses with their headers, and the milliseconds of each."""

    statuses: list[int] = field(default_factory=list)
    retry_after: list[str | None] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)


class Client:
    """One connection to 127.0.0.1:`port`, kept alive."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, request: bytes, seen: Seen) -> None:
        """Send `request`, and read the whole answer."""
        began = time.perf_counter()
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        await self._reader.readexactly(int(headers["content-length"]))
        seen.milliseconds.append(1000 * (time.perf_counter() - began))
        seen.statuses.append(int(head[0].split(" ")[1]))
        seen.retry_after.append(headers.get("retry-after"))


def request(question: str, **fields: Any) -> bytes:
    """``POST /v1/classify`` as it goes over the wire."""
    body = json.dumps({"question": question, **fields}, ensure_ascii=False).encode()
    head = f"POST /v1/classify HTTP/1.1\r\nHost: replica\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def one_by_one(port: int, requests: Sequence[bytes]) -> Seen:
    """Each after the answer to the one before, over one connection."""
    seen = Seen()
    async with Client(port) as client:
        for one in requests:
            await client.ask(one, seen)
    return seen


async def side_by_side(port: int, requests: Iterator[bytes], clients: int, seconds: float) -> tuple[Seen, float]:
    """`clients` that ask without a pause; returns what they saw, and how long it took."""
    seen = Seen()
    began = time.perf_counter()

    async def go_on() -> None:
        async with Client(port) as client:
            while time.perf_counter() < began + seconds:
                await client.ask(next(requests), seen)

    await asyncio.gather(*(go_on() for _ in range(clients)))
    return seen, time.perf_counter() - began


async def at_once(port: int, requests: Sequence[bytes]) -> Seen:
    """All at the same moment, each over a connection of its own that stands already."""
    seen = Seen()
    clients = [await Client(port).__aenter__() for _ in requests]
    try:
        await asyncio.gather(*(client.ask(one, seen) for client, one in zip(clients, requests, strict=True)))
    finally:
        for client in clients:
            await client.__aexit__()
    return seen
