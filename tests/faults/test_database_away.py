"""The database is away: for a while, for longer than a worker waits, and while a worker is told to end."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from local.supervisor import Service, Supervisor, is_ready
from schema.settings import Settings, environment
from tests.faults.harness import EVENTS, Bed
from tests.faults.proxy import Away, Proxy
from tests.running import wait_until

pytestmark = pytest.mark.long

AWAY_SECONDS = 30.0


def test_a_database_away_for_30_s_is_waited_for(bed: Bed) -> None:
    """The worker stays, acknowledges nothing meanwhile, and goes on within seconds."""
    bed.worker(stream_batch=500)
    bed.load.start(700)
    bed.until(lambda: bed.stored() > 2000, "events flow")
    bed.database_down()
    before, until = bed.stored(), time.monotonic() + AWAY_SECONDS
    bed.until(lambda: time.monotonic() > until, "the worker lives on without a database", AWAY_SECONDS + 5)
    assert bed.stored() == before
    bed.database_up()
    bed.until(lambda: bed.stored() > before, "events flow again", 10)
    bed.verify()


def test_a_database_away_too_long_ends_the_worker_and_its_supervisor_restarts_it(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    """Non-zero exit status, the reason in the log, and nothing is lost."""
    settings = bed.settings
    proxy = Proxy(settings.database_url.get_secret_value())
    patient = settings.model_copy(update={"database_url": SecretStr(proxy.url), "database_patience": 5.0, "stream_batch": 500})
    url, log = f"http://127.0.0.1:{settings.streams_port}", settings.var / "supervised.log"
    command = (sys.executable, "-m", "intentloop", "streams")
    supervisor = Supervisor()
    caplog.set_level(logging.WARNING, "local.supervisor")

    def after(condition: Callable[[], object], what: str, seconds: float) -> None:
        def holds() -> object:
            supervisor.tend()
            return condition()

        wait_until(holds, what, seconds)

    def endings() -> list[object]:
        return [r.args[1] for r in caplog.records if isinstance(r.args, tuple) and "ended with" in r.msg]

    try:
        supervisor.start(Service("streams", command, variables(patient), url, log))
        bed.load.send(EVENTS)
        after(lambda: bed.stored() > 2000, "events flow", 40)
        proxy.down()
        after(endings, "the worker gives up", 60)
        assert endings()[0] not in (0, -9), "the worker says that it failed, and was not killed"
        text = log.read_text()
        assert re.search(r"gave up after .* s: database error", text), text[-2000:]
        assert text.rstrip().splitlines()[-1].startswith("error: gave up after"), text[-2000:]
        proxy.up()
        after(lambda: is_ready(url), "the supervisor has started another", 60)
        bed.verify([url])
    finally:
        supervisor.stop()
        proxy.stop()


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_sigterm_without_a_database_ends_the_worker_within_20_s(bed: Bed, how: Away) -> None:
    """Also where the database just never answers: a host that vanished refuses nothing."""
    first = bed.worker(stream_batch=500)
    bed.load.send(EVENTS)
    bed.until(lambda: bed.stored() > 2000, "events flow")
    first.proxy.down(how)
    before = bed.stored()
    began = time.monotonic()
    try:
        code = bed.terminate(first, 20)
    except subprocess.TimeoutExpired:
        pytest.fail(f"the worker has not ended 20 s after SIGTERM:\n{first.tail()}")
    print(f"SIGTERM with the database {how}: ended with {code} after {time.monotonic() - began:.1f} s")
    assert before < EVENTS * 0.9, "the worker had work to do"
    bed.worker(stream_batch=500)
    bed.verify()


def variables(settings: Settings) -> dict[str, str]:
    """This process's variables with those of `settings`."""
    given = {k: v for k, v in os.environ.items() if not k.startswith("INTENTLOOP_")}
    return given | environment(settings)
