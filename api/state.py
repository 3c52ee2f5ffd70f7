"""What one api process holds, and how its handlers reach the database, Kafka and the replicas' state.

SQL is synchronous: it runs in threads of its own, so that a slow database never holds up /livez.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from api.changes import Changes
from api.live import Live
from api.replicas import Replicas
from api.threshold import toward_training
from api.wire import Unavailable
from schema.database import classify, in_transaction, open_engine
from schema.errors import TransientError
from schema.events import Event
from schema.producer import EventProducer, client_config
from schema.settings import Settings
from schema.tables import metadata
from schema.topics import QUESTION_LABELED, TOPICS, Topic

log = logging.getLogger(__name__)
T = TypeVar("T")
THREADS: Final = 10
KAFKA_LOOK_SECONDS: Final = 3.0
DELIVERY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Sending:
    """An event on its way to Kafka."""

    event: Event
    key: str
    event_id: str
    traceparent: str | None = None


class Api:
    """The parts of one api process.

    Raises:
        ConfigError: a setting is missing or cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        settings.require("kafka", "database_url")
        self.settings = settings
        self.engine = open_engine(settings.database_url.get_secret_value(), pool_size=THREADS)
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")
        self.producer = EventProducer(settings, source="intentloop/api")
        self.replicas = Replicas(settings)
        self.changes = Changes(settings)
        self.live = Live(settings, lambda: self.database(lambda connection: toward_training(connection, settings)))
        self._admin = AdminClient(client_config(settings))

    def start(self) -> None:
        """Begin to follow the replicas."""
        self.replicas.start()

    async def close(self) -> None:
        """End every part; what the broker has not taken by then was never promised to anyone."""
        await asyncio.to_thread(self.replicas.stop)
        try:
            await asyncio.to_thread(self.producer.close, 5.0)
        except TransientError as error:
            log.warning("labels that were answered with 503 were dropped: %s", error)
        self.threads.shutdown(wait=True, cancel_futures=True)
        self.engine.dispose()

    async def database(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction, in a thread. It may run more than once; see `schema.database.in_transaction`.

        Raises:
            Unavailable: the database is away.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, in_transaction, self.engine, work)
        except TransientError as error:
            raise Unavailable("database_unavailable", f"the database does not answer: {error}") from error

    async def publish(self, topic: Topic, *sendings: Sending) -> None:
        """Send events, in their order, and wait until the broker has all of them.

        The broker is asked first: what is handed to a producer whose broker is away would be sent when it comes back,
        long after the caller was told that it failed.

        Raises:
            Unavailable: the broker is away, or did not take it in time. It may have taken some.
        """
        try:
            await asyncio.to_thread(self._look_for, topic)
            sent = [self._send(topic, one) for one in sendings]
            # shielded: a cancelled future would break the producer's delivery report
            taken = (asyncio.shield(asyncio.wrap_future(one)) for one in sent)
            await asyncio.wait_for(asyncio.gather(*taken), DELIVERY_SECONDS)
        except TimeoutError:
            message = f"the broker did not confirm within {DELIVERY_SECONDS:g} s; the record may still arrive"
            raise Unavailable("kafka_unavailable", message) from None
        except TransientError as error:
            raise Unavailable("kafka_unavailable", str(error)) from error

    def _send(self, topic: Topic, one: Sending) -> Future[None]:
        sent = self.producer.send(topic, one.event, key=one.key, event_id=one.event_id, traceparent=one.traceparent)
        sent.add_done_callback(_retrieve)
        return sent

    def _look_for(self, *topics: Topic) -> None:
        """Ask Kafka for `topics`. This makes none: the admin client never allows the broker to."""
        names = [topic.name(self.settings.topic_prefix) for topic in topics]
        only = {"topic": names[0]} if len(names) == 1 else {}
        try:
            known = self._admin.list_topics(**only, timeout=KAFKA_LOOK_SECONDS).topics
        except KafkaException as error:
            raise TransientError(f"Kafka does not answer: {error.args[0].str()}") from None
        if missing := [name for name in names if name not in known or known[name].error is not None]:
            raise TransientError(f"topics are missing, run `intentloop migrate`: {', '.join(missing)}")

    async def check_database(self) -> None:
        """Raises `TransientError` while the database is away or its tables are not there."""

        def look() -> None:
            try:
                there = set(inspect(self.engine).get_table_names())
            except DBAPIError as error:
                raise classify(error) from error
            if missing := sorted(metadata.tables.keys() - there):
                raise TransientError(f"tables are missing, run `intentloop migrate`: {', '.join(missing)}")

        await asyncio.get_running_loop().run_in_executor(self.threads, look)

    async def check_kafka(self) -> None:
        """Raises `TransientError` while Kafka is away or topics are not there."""
        await asyncio.to_thread(self._look_for, *TOPICS)

    async def check_replicas(self) -> None:
        """Raises `TransientError` until the replicas' state was read once."""
        self.replicas.check()


def _retrieve(sent: Future[None]) -> None:
    """Look at the outcome, so that one that nobody waits for any more is not reported as lost."""
    if error := sent.exception():
        log.warning("a %s was not delivered: %s", QUESTION_LABELED.stem, error)
