"""The trainer process: composition root of the relay, the trigger, the trainer and the guard, each in a thread."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable

from aiohttp import web
from sqlalchemy import Engine

from consumers.guard import Guard
from consumers.loop import Loop
from consumers.relay import Relay
from consumers.trainer import Trainer
from consumers.trigger import Trigger
from schema.database import open_engine, ping
from schema.errors import TransientError
from schema.events import LabelApplied, TrainingRequested
from schema.health import add_health_routes, serve
from schema.logs import set_up_logs
from schema.producer import EventProducer
from schema.settings import Settings
from schema.topics import LABEL_APPLIED, TRAINING_REQUESTED

log = logging.getLogger(__name__)


class TrainerProcess:
    """The loops. When one dies of what it cannot handle, the process ends, and its supervisor starts it anew."""

    def __init__(self, settings: Settings) -> None:
        settings.require("kafka", "database_url")
        self.settings = settings
        self.engine: Engine = open_engine(settings.database_url.get_secret_value(), pool_size=8)
        self.producer = EventProducer(settings, source="intentloop/trainer")
        self.relay = Relay(self.engine, self.producer)
        self.guard = Guard(self.engine, settings)
        trigger = Trigger(self.engine, settings)
        self.trigger = Loop(settings, "trigger", LABEL_APPLIED, LabelApplied, trigger.handle, producer=self.producer)
        self.trainer = Trainer(self.engine, settings, environ=dict(os.environ))
        self.training = Loop(
            settings,
            "trainer",
            TRAINING_REQUESTED,
            TrainingRequested,
            self.trainer.handle,
            producer=self.producer,
            on_assigned=self.trainer.resume,
        )
        self.trainer.keep_alive = self.training.keep_alive
        self.trainer.stopping = self.training.stopping
        self.died = threading.Event()
        self.threads = [
            threading.Thread(target=self._watched, args=(name, run), name=name)
            for name, run in (
                ("relay", self.relay.run),
                ("trigger", self.trigger.run),
                ("trainer", self.training.run),
                ("guard", self.guard.run),
            )
        ]

    def _watched(self, name: str, run: Callable[[], None]) -> None:
        try:
            run()
        finally:
            if not self.training.stopping.is_set():
                log.critical("the %s loop ended", name)
                self.died.set()

    def stop(self) -> None:
        """End the loops and wait for them."""
        for loop in (self.relay, self.trigger, self.training, self.guard):
            loop.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def routes(self) -> web.Application:
        """Health and metrics."""
        routes = web.Application()

        async def database() -> None:
            await asyncio.get_running_loop().run_in_executor(None, ping, self.engine)

        async def loops() -> None:
            dead = [thread.name for thread in self.threads if not thread.is_alive()]
            if dead:
                raise TransientError(f"not running: {', '.join(dead)}")
            if not (self.trigger.assigned.is_set() and self.training.assigned.is_set()):
                raise TransientError("no partitions are assigned yet")

        add_health_routes(routes, {"database": database, "loops": loops})
        return routes

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT.

        Raises:
            TransientError: a loop died.
        """
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        site = await serve(self.routes(), self.settings.host, self.settings.trainer_port)
        for thread in self.threads:
            thread.start()
        loop = asyncio.get_running_loop()
        dead = asyncio.ensure_future(asyncio.to_thread(self.died.wait))
        await asyncio.wait({asyncio.create_task(stop.wait()), dead}, return_when=asyncio.FIRST_COMPLETED)
        died = self.died.is_set()
        await loop.run_in_executor(None, self.stop)
        self.died.set()
        self.producer.close()
        self.engine.dispose()
        await site.cleanup()
        if died:
            raise TransientError("one of the loops died; see the log above")


def run_trainer(settings: Settings) -> None:
    """Run the trainer process; returns after SIGTERM or SIGINT.

    Raises:
        ConfigError: a setting is missing.
        TransientError: a loop died.
    """
    set_up_logs("trainer", settings.log_level)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    await TrainerProcess(settings).run()
