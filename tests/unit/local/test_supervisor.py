"""Real child processes: they are restarted when they die, not when they were started wrongly, and none outlives us."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.children import end, last_line, spawn
from local.ports import free_port
from local.supervisor import Service, Supervisor, is_ready
from schema.errors import ConfigError
from tests.running import ROOT, wait_until

SERVER = """
import http.server, os, signal, sys
port, refusals, diary, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global refusals
        ready = refusals <= 0
        refusals -= self.path == "/readyz"
        self.send_response(200 if ready or self.path == "/pid" else 503)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

    def log_message(self, *_):
        pass

def leave(*_):
    with open(diary, "a") as file:
        file.write(name + " ")
    os._exit(0)

signal.signal(signal.SIGTERM, leave)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor()
    yield made
    made.stop()


def service(folder: Path, name: str = "one", refusals: int = 0) -> Service:
    port = free_port()
    command = (sys.executable, "-c", SERVER, str(port), str(refusals), str(folder / "diary"), name)
    return Service(name, command, os.environ, f"http://127.0.0.1:{port}", folder / "logs" / f"{name}.log")


def program(folder: Path, code: str) -> Service:
    return Service("one", (sys.executable, "-c", code), os.environ, "http://127.0.0.1:1", folder / "one.log")


def pid(service: Service) -> int:
    with urllib.request.urlopen(f"{service.url}/pid", timeout=5) as answer:
        return int(answer.read())


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def tended(supervisor: Supervisor, condition: Callable[[], bool]) -> Callable[[], bool]:
    def look() -> bool:
        supervisor.tend()
        return condition()

    return look


def test_waiting_ends_when_all_are_ready_and_each_one_is_told(tmp_path: Path, supervisor: Supervisor) -> None:
    quick, slow = service(tmp_path, "quick"), service(tmp_path, "slow", refusals=3)
    told: list[str] = []
    for one in (slow, quick):
        supervisor.start(one)
    supervisor.wait_ready(told.append)
    assert sorted(told) == ["quick", "slow"]
    assert is_ready(quick.url)
    assert is_ready(slow.url)


def test_a_process_that_was_killed_is_started_again(
    tmp_path: Path, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    killed, other = service(tmp_path, "killed"), service(tmp_path, "other")
    supervisor.start(killed)
    supervisor.start(other)
    supervisor.wait_ready()
    first, untouched = pid(killed), pid(other)
    os.kill(first, signal.SIGKILL)
    with caplog.at_level(logging.WARNING):
        wait_until(lambda: not alive(first), "killed")
        wait_until(tended(supervisor, lambda: is_ready(killed.url)), "started again")
    assert pid(killed) != first
    assert pid(other) == untouched
    assert caplog.messages == ["killed ended with -9; restart in 1 s"]


def test_a_process_that_keeps_dying_is_given_longer_and_longer_pauses(
    tmp_path: Path, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.start(program(tmp_path, "print('up'); raise SystemExit(1)"))
    with caplog.at_level(logging.WARNING):
        wait_until(tended(supervisor, lambda: len(caplog.messages) >= 2), "died twice")
        supervisor.tend()
    assert caplog.messages == ["one ended with 1; restart in 1 s", "one ended with 1; restart in 3 s"]
    assert (tmp_path / "one.log").read_text() == "up\nup\n"


def test_a_process_that_was_started_wrongly_is_reported_and_not_started_again(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(program(tmp_path, "import sys; print('up'); print('error: set INTENTLOOP_KAFKA'); sys.exit(2)"))

    def said() -> bool:
        try:
            supervisor.tend()
        except ConfigError as error:
            return str(error) == "one: set INTENTLOOP_KAFKA"
        return False

    wait_until(said, "reported")
    for _ in range(3):
        assert said(), "and reported again, not restarted"
    assert (tmp_path / "one.log").read_text().count("up") == 1


@pytest.mark.parametrize("status", [0, 1, 2])
def test_a_process_that_ends_before_it_is_ready_is_reported_with_its_last_words(
    tmp_path: Path, supervisor: Supervisor, status: int
) -> None:
    supervisor.start(program(tmp_path, f"import sys; print('hello'); print('error: no database'); print(); sys.exit({status})"))
    with pytest.raises(ConfigError, match=r"^one did not start: no database \(more in .*one\.log\)$"):
        supervisor.wait_ready()


def test_stopping_ends_all_the_last_started_first(tmp_path: Path, supervisor: Supervisor) -> None:
    services = [service(tmp_path, name) for name in ("a", "b", "c")]
    for one in services:
        supervisor.start(one)
    supervisor.wait_ready()
    running = [pid(one) for one in services]
    supervisor.stop()
    assert (tmp_path / "diary").read_text() == "c b a "
    assert not any(alive(process) for process in running)
    assert not any(is_ready(one.url) for one in services)
    supervisor.tend()
    assert not any(is_ready(one.url) for one in services), "what was stopped is not started again"
    supervisor.stop()


def test_stopping_does_not_stumble_over_what_has_died(tmp_path: Path, supervisor: Supervisor) -> None:
    services = [service(tmp_path, name) for name in ("a", "b")]
    for one in services:
        supervisor.start(one)
    supervisor.wait_ready()
    died = pid(services[1])
    os.kill(died, signal.SIGKILL)
    wait_until(lambda: not alive(died), "killed")
    supervisor.stop()
    assert (tmp_path / "diary").read_text() == "a "


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    child = spawn([sys.executable, "-c", code], log=tmp_path / "log")
    wait_until(lambda: last_line(tmp_path / "log") == "deaf", "started")
    assert end(child, seconds=0.2) == -signal.SIGKILL


def test_a_child_dies_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from local.children import spawn\n"
        "child = spawn([sys.executable, '-c', 'import signal; signal.pause()'], log=Path(sys.argv[1]))\n"
        "print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    wait_until(lambda: not alive(child), "the child ended")


def test_logs_are_appended_and_their_last_words_found(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    assert last_line(log) == "it said nothing"
    for word in ("one", "two"):
        spawn([sys.executable, "-c", f"print('{word}'); print('  ')"], log=log).wait()
    assert log.read_text() == "one\n  \ntwo\n  \n"
    assert last_line(log) == "two"


def test_the_environment_is_the_one_given(tmp_path: Path) -> None:
    code = "import os; print(os.environ.get('INTENTLOOP_X'), os.environ.get('HOME'))"
    spawn([sys.executable, "-c", code], log=tmp_path / "log", environ={"INTENTLOOP_X": "1"}).wait()
    assert last_line(tmp_path / "log") == "1 None"
