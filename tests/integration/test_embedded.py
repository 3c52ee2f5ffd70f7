"""``intentloop up``: a whole system on one machine that starts by itself and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.ports import free_port
from local.supervisor import is_ready
from tests.running import ROOT, wait_until

STARTED_WRONGLY = 2


def variables(var: Path) -> dict[str, str]:
    """The environment of a fresh user: no servers, ports that are free."""
    base = free_port(together=5)
    own = {
        "INTENTLOOP_VAR": str(var),
        "INTENTLOOP_API_PORT": str(base),
        "INTENTLOOP_STREAMS_PORT": str(base + 1),
        "INTENTLOOP_TRAINER_PORT": str(base + 2),
        "INTENTLOOP_REPLICA_PORT": str(base + 3),
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("INTENTLOOP_")} | own


@contextmanager
def up(environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "intentloop", "up"], env=environ, cwd=ROOT, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def running_with(marker: str) -> list[str]:
    """Command lines of processes whose environment or arguments hold `marker`."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            told = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            if marker.encode() in told and (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " ")[:120])
        except OSError:
            continue  # it ended while we looked, or is another user's
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_the_whole_system_starts_answers_and_leaves_no_process_behind(
    number: signal.Signals, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("up")
    environ, log = variables(folder / "var"), folder / "up.log"
    api, replica = (f"http://127.0.0.1:{environ[f'INTENTLOOP_{name}_PORT']}" for name in ("API", "REPLICA"))
    with up(environ, log) as process:

        def started() -> bool:
            assert process.poll() is None, log.read_text()
            return is_ready(api) and is_ready(replica)

        wait_until(started, "the system is up", 120)
        body = json.dumps({"question": "明年财运怎么样"}).encode()
        request = urllib.request.Request(f"{replica}/v1/classify", data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            said = json.load(answer)
        assert (said["model_version"], said["replica_id"]) == ("v0", "replica-1")
        assert said["time_intent"]["type"] == "next_year"
        assert len(running_with(str(folder))) >= 8, "Kafka, MariaDB, api, streams, trainer, two replicas, and up itself"
        process.send_signal(number)
        code = process.wait(90)
    wait_until(lambda: not running_with(str(folder)), f"nothing is left: {running_with(str(folder))}", 20)
    assert code == (0 if number != signal.SIGKILL else -signal.SIGKILL), log.read_text()


def wrongly(environ: dict[str, str], *prefix: str) -> str:
    """Start with `environ`, by way of the command `prefix`; returns the one line that says what is wrong."""
    command = [*prefix, sys.executable, "-m", "intentloop", "up"]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == STARTED_WRONGLY, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stderr.splitlines()[-1] == line
    return line


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    environ = variables(tmp_path)
    with socket.create_server(("127.0.0.1", int(environ["INTENTLOOP_API_PORT"]))):
        line = wrongly(environ)
    assert f"port {environ['INTENTLOOP_API_PORT']} (INTENTLOOP_API_PORT) is in use" in line


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = wrongly(variables(tmp_path / "file" / "var"))
    assert str(tmp_path / "file" / "var") in line
    assert "INTENTLOOP_VAR" in line


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    own_mounts = ("unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=20m tmpfs {tmp_path} && exec "$@"', "sh")
    if subprocess.run([*own_mounts, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a small disk")
    line = wrongly(variables(tmp_path), *own_mounts)
    assert "MB left" in line
    assert "INTENTLOOP_VAR" in line


def test_a_server_that_does_not_start_is_named(tmp_path: Path) -> None:
    """Here: a data folder of MariaDB that holds rubbish."""
    (tmp_path / "mariadb" / "data" / "mysql").mkdir(parents=True)
    (tmp_path / "mariadb" / "data" / "ibdata1").write_text("rubbish")
    line = wrongly(variables(tmp_path))
    assert "MariaDB did not start" in line
    assert "INTENTLOOP_DATABASE_URL" in line


def test_every_unknown_or_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    wrong = {"INTENTLOOP_API_PROT": "8001", "INTENTLOOP_CONFIDENCE": "2", "INTENTLOOP_LOG_LEVEL": "loud"}
    line = wrongly(variables(tmp_path) | wrong)
    assert all(name in line for name in wrong)
    assert "did you mean INTENTLOOP_API_PORT?" in line
