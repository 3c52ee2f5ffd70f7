"""A TCP proxy before the database: scripted faults with no code for them in the product.

A test plans a fault for a kind of statement, such as "the COMMIT of a transaction that wrote intent_user_questions",
waits for its `reached`, does what it wants to do at exactly that point, and releases it. See `tests/faults/points.py`.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TypeVar

from sqlalchemy import make_url

from local.ports import free_port
from tests.faults.wire import Command, Stream, query, without_tls

if TYPE_CHECKING:
    from tests.faults.points import Fault

HOST = "127.0.0.1"
"""Below the range from which the kernel takes ports for outgoing connections: a port that is closed stays ours."""

F = TypeVar("F", bound="Fault")
Away = Literal["refused", "silent"]
"""How a database can be away: connections are refused, or nothing ever answers (a host that vanished)."""


class Line:
    """One connection through the proxy: a thread for each direction, and what its transaction has written so far."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy = proxy
        self.written: set[str] = set()
        self._client = client
        self._server = server
        self._taken: Future[bytes] | None = None
        for work, name in ((self._commands, "proxy-commands"), (self._answers, "proxy-answers")):
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True).start()

    def forward(self, command: Command) -> None:
        """Hand `command` to the server; its answer goes to the client."""
        self._server.sendall(command.raw)

    def ask(self, raw: bytes) -> bytes:
        """Hand `raw` to the server and keep back its answer, which must be one packet (OK or ERR).

        Raises:
            OSError: the server has closed the connection.
        """
        taken: Future[bytes] = Future()
        self._taken = taken
        self._server.sendall(raw)
        return taken.result()

    def reply(self, packet: bytes) -> None:
        """Answer the client with `packet`."""
        self._client.sendall(packet)

    def roll_back(self) -> None:
        """Roll the transaction back, as the server does by itself with a deadlock's victim."""
        self.written.clear()
        self.ask(query("ROLLBACK"))

    def reset(self) -> None:
        """End the connection as a crashed host would: RST to the client, and the server sees its client go."""
        # linger 0: close sends RST, not FIN
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.close()
        _end(self._server)

    def end(self) -> None:
        """Close both sides; a command that a fault holds is never forwarded."""
        _end(self._client)
        _end(self._server)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            with suppress(OSError):  # one side has gone: so does the other
                work()
        finally:
            self.end()
            if self._taken is not None and not self._taken.done():
                self._taken.set_exception(ConnectionResetError("the server has closed the connection"))
            self.proxy.forget(self)

    def _commands(self) -> None:
        stream = Stream(self._client)
        while True:
            command = stream.command()
            self.proxy.pause_if_silent()
            fault = self.proxy.due(command, self.written)
            if command.table:
                self.written.add(command.table)
            if command.verb in {"COMMIT", "ROLLBACK", "BEGIN", "START"}:
                self.written.clear()
            if fault is None:
                self.forward(command)
            else:
                fault.strike(self, command)

    def _answers(self) -> None:
        stream = Stream(self._server)
        self._client.sendall(without_tls(stream.packet()))
        while chunk := stream.some():
            self.proxy.pause_if_silent()
            taken = self._taken
            if taken is None:
                self._client.sendall(chunk)
            else:
                stream.give_back(chunk)
                answer = stream.packet()
                self._taken = None
                taken.set_result(answer)


class Proxy:
    """Listens on loopback and passes everything on to the database of `url`, but for the faults that are planned."""

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._lock = threading.Lock()
        self._lines: set[Line] = set()
        self._faults: list[Fault] = []
        self._mute: list[socket.socket] = []
        self._awake = threading.Event()
        self._awake.set()
        self.stopping = threading.Event()
        self.tried = threading.Event()
        """Set when a connection comes while the database is silent."""
        self._listener = _listen()
        self.port: int = self._listener.getsockname()[1]
        self._serve()

    @property
    def url(self) -> str:
        """The database's URL by way of this proxy."""
        return self._target.set(host=HOST, port=self.port).render_as_string(hide_password=False)

    def plan(self, fault: F) -> F:
        """Let `fault` strike when its statement comes."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def forgive(self) -> None:
        """Plan nothing any more, and release what is held."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.release()

    def due(self, command: Command, written: set[str]) -> Fault | None:
        """The fault that strikes at `command`, if one does."""
        with self._lock:
            return next((fault for fault in self._faults if fault.takes(command, written)), None)

    def drop(self) -> None:
        """End every connection; what is held is never forwarded."""
        with self._lock:
            lines = list(self._lines)
            mute, self._mute = self._mute, []
        for line in lines:
            line.end()
        for waiting in mute:
            _end(waiting)

    def down(self, how: Away = "refused") -> None:
        """The database is away."""
        if how == "silent":
            self._awake.clear()
        else:
            _end(self._listener)
            self.drop()

    def up(self) -> None:
        """The database is there again; connections that were silent are dropped, as a restarted host does."""
        if not self._awake.is_set():
            self.drop()
            self._awake.set()
        if self._listener.fileno() == -1:
            self._listener = _listen(self.port)
            self._serve()

    def pause_if_silent(self) -> None:
        """Hold what was read until the database speaks again."""
        self._awake.wait()

    def forget(self, line: Line) -> None:
        """`line` has ended."""
        with self._lock:
            self._lines.discard(line)

    def stop(self) -> None:
        """End everything."""
        self.stopping.set()
        _end(self._listener)
        self.drop()
        self.forgive()
        self._awake.set()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), name="proxy", daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed: the database is down, or the test is over
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._awake.is_set():
                with self._lock:
                    self._mute.append(client)
                self.tried.set()
                continue
            try:
                server = socket.create_connection((self._target.host or HOST, self._target.port or 3306), timeout=10)
            except OSError:
                _end(client)
                continue
            server.settimeout(None)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._lines.add(Line(self, client, server))


def _listen(port: int | None = None) -> socket.socket:
    """A listening socket on `port`, or on a free one."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port or free_port()))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _end(connection: socket.socket) -> None:
    """Close `connection` and wake the thread that reads it, which ``close`` alone does not."""
    with suppress(OSError):  # the other side was faster
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
