"""A producer that loses nothing quietly: idempotent, acks=all, every delivery reported, a bounded buffer."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schema.envelope import CONTENT_TYPE, Headers, encode, wrap
from schema.errors import TransientError
from schema.events import Event
from schema.settings import Settings
from schema.topics import MAX_RECORD_BYTES, Topic

BUFFER_RECORDS: Final = 100_000


class BufferFull(TransientError):
    """The broker takes less than is produced. Slow down, and send the same event again."""


def client_config(settings: Settings) -> dict[str, str | int | float | bool]:
    """What every Kafka client of ours starts from.

    Raises:
        ConfigError: no bootstrap servers are set.
    """
    settings.require("kafka")
    # level 2: librdkafka repeats "connection refused" several times a second; what matters comes through callbacks
    return {"bootstrap.servers": settings.kafka, "client.id": "intentloop", "log_level": 2}


class EventProducer:
    """Sends events and raw records; a background thread reports each delivery to the future that `send` returned.

    Args:
        settings: for the cluster and the topic prefix.
        source: the CloudEvents source of what is sent.
        buffer: records that may wait for the broker.
    """

    def __init__(self, settings: Settings, *, source: str, buffer: int = BUFFER_RECORDS) -> None:
        self._prefix = settings.topic_prefix
        self._source = source
        self._producer = Producer(
            client_config(settings)
            | {
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "lz4",
                "linger.ms": 2,
                "queue.buffering.max.messages": buffer,
                "delivery.timeout.ms": 120_000,
                "message.max.bytes": MAX_RECORD_BYTES,
            }
        )
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="producer-poll", daemon=True)
        self._poller.start()

    def send(
        self,
        topic: Topic,
        event: Event,
        *,
        key: str,
        event_id: str | None = None,
        traceparent: str | None = None,
        at: datetime | None = None,
    ) -> Future[None]:
        """Send `event`; the future ends when the broker has it.

        Raises:
            BufferFull: nothing was taken; the future of an accepted event fails with `TransientError` instead.
        """
        envelope = wrap(event, source=self._source, event_id=event_id, traceparent=traceparent, at=at)
        headers = [("content-type", CONTENT_TYPE.encode())]
        return self.send_raw(topic.name(self._prefix), encode(envelope), key=key.encode(), headers=headers)

    def send_raw(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None,
        headers: Headers | None = None,
        timestamp_ms: int = 0,
        partition: int = -1,
    ) -> Future[None]:
        """Send a record as it is; see `send`."""
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # nobody can cancel it: the record is on its way

        sent: list[tuple[str, str | bytes | None]] = [*(headers or [])]

        def report(error: KafkaError | None, _: Message) -> None:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(TransientError(f"the broker did not take the record: {error.str()}"))

        try:
            self._producer.produce(
                topic,
                value=value,
                key=key,
                headers=sent,
                timestamp=timestamp_ms,
                partition=partition,
                on_delivery=report,
            )
        except BufferError:
            raise BufferFull(f"{len(self._producer)} records wait for the broker; slow down and send this one again") from None
        except KafkaException as error:
            raise TransientError(f"the record was not taken: {error}") from None
        return done

    def flush(self, timeout: float = 30.0) -> int:
        """Wait until all is delivered; returns how many records are still waiting after `timeout` seconds."""
        return int(self._producer.flush(timeout))

    def close(self, timeout: float = 30.0) -> None:
        """Deliver what waits, then stop.

        Raises:
            TransientError: some records were not delivered in `timeout` seconds.
        """
        left = self.flush(timeout)
        self._closing.set()
        self._poller.join()
        if left:
            raise TransientError(f"{left} records were not delivered within {timeout:g} s")

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
