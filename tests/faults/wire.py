"""MySQL's client/server protocol, as far as a proxy must read it to know what a transaction has done.

Source: MySQL Internals, "Client/Server Protocol": a packet is a 3-byte little-endian length, a sequence number and the
payload; a command starts at sequence 0; a payload of 0xFFFFFF bytes goes on in the next packet.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Final

COM_QUERY: Final = 0x03
OK: Final = 0x00
_PROTOCOL: Final = 10
_LONGEST: Final = 0xFFFFFF
_CLIENT_SSL: Final = 0x0800
_STATES: Final = {1213: b"40001", 1205: b"HY000"}
_VERB: Final = re.compile(rb"\s*(\w+)")
_TABLE: Final = {
    "INSERT": re.compile(rb"\bINTO\s+`?(\w+)", re.IGNORECASE),
    "REPLACE": re.compile(rb"\bINTO\s+`?(\w+)", re.IGNORECASE),
    "UPDATE": re.compile(rb"\bUPDATE\s+`?(\w+)", re.IGNORECASE),
    "DELETE": re.compile(rb"\bFROM\s+`?(\w+)", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class Command:
    """What a client sent: its bytes as they came, and the statement it holds, if it is one.

    Attributes:
        raw: all its packets.
        sequence: the sequence number of its last packet; an answer continues from it.
        verb: the statement's first word in capitals; empty for what is no statement.
        table: the table that it writes; empty where it writes none.
    """

    raw: bytes
    sequence: int
    verb: str
    table: str


class Stream:
    """Reads packets from a socket. No ``makefile``: it would keep the socket open after ``close``."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._buffer = bytearray()

    def packet(self) -> bytes:
        """The next packet with its header.

        Raises:
            OSError: the connection has ended.
        """
        self._fill(4)
        length = 4 + int.from_bytes(self._buffer[:3], "little")
        self._fill(length)
        packet = bytes(self._buffer[:length])
        del self._buffer[:length]
        return packet

    def some(self) -> bytes:
        """What has come, whatever it is; empty at the end."""
        if self._buffer:
            found, self._buffer = bytes(self._buffer), bytearray()
            return found
        return self._source.recv(1 << 16)

    def give_back(self, chunk: bytes) -> None:
        """Put `chunk` before what comes next."""
        self._buffer[:0] = chunk

    def command(self) -> Command:
        """The next command, or the next packet of a login; see `packet` for errors."""
        first = raw = self.packet()
        last = first
        while len(last) == 4 + _LONGEST:
            last = self.packet()
            raw += last
        if first[3] != 0 or len(first) < 5 or first[4] != COM_QUERY:
            return Command(raw, last[3], "", "")
        head = first[5:500]
        word = _VERB.match(head)
        verb = word[1].decode("ascii", "replace").upper() if word else ""
        written = _TABLE[verb].search(head) if verb in _TABLE else None
        return Command(raw, last[3], verb, written[1].decode("ascii", "replace") if written else "")

    def _fill(self, length: int) -> None:
        while len(self._buffer) < length:
            chunk = self._source.recv(1 << 18)
            if not chunk:
                raise ConnectionResetError("the connection has ended")
            self._buffer += chunk


def query(statement: str) -> bytes:
    """`statement` as a command."""
    payload = bytes([COM_QUERY]) + statement.encode()
    return len(payload).to_bytes(3, "little") + b"\x00" + payload


def refusal(sequence: int, number: int) -> bytes:
    """The server's ERR packet for error `number`, in answer to a command that ended at `sequence`."""
    message = f"injected by the test: error {number}".encode()
    payload = b"\xff" + number.to_bytes(2, "little") + b"#" + _STATES.get(number, b"HY000") + message
    return len(payload).to_bytes(3, "little") + bytes([(sequence + 1) % 256]) + payload


def without_tls(greeting: bytes) -> bytes:
    """The server's `greeting` without its offer of TLS, through which nobody could read."""
    if greeting[4] != _PROTOCOL:
        return greeting  # the server lets nobody in
    changed = bytearray(greeting)
    low = changed.index(0, 5) + 1 + 4 + 8 + 1  # version text, NUL, thread id, 8 bytes of salt, filler
    flags = int.from_bytes(changed[low : low + 2], "little") & ~_CLIENT_SSL
    changed[low : low + 2] = flags.to_bytes(2, "little")
    return bytes(changed)
