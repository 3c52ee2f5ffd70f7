"""What an upstream service imports to publish the questions of its users.

    with QuestionPublisher(load_settings(os.environ), source="fortune-api") as publisher:
        publisher.publish(QuestionAsked(question="明年适合跳槽吗", user_id="u-17")).result()

Text is masked and identifiers are replaced by pseudonyms here, before anything reaches Kafka.
"""

from __future__ import annotations

from concurrent.futures import Future
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from schema.events import QuestionAsked
from schema.ids import uuid7
from schema.privacy import mask, pseudonym
from schema.producer import BUFFER_RECORDS, EventProducer
from schema.settings import Settings
from schema.topics import QUESTION_ASKED


class QuestionPublisher:
    """Publishes ``question.asked``, idempotently, in order per user.

    Raises:
        ConfigError: ``INTENTLOOP_KAFKA`` or ``INTENTLOOP_PSEUDONYM_KEY`` is missing.
    """

    def __init__(self, settings: Settings, *, source: str, buffer: int = BUFFER_RECORDS) -> None:
        settings.require("kafka", "pseudonym_key")
        self._key = settings.pseudonym_key.get_secret_value()
        self._producer = EventProducer(settings, source=source, buffer=buffer)

    def publish(self, question: QuestionAsked, *, event_id: str | None = None, traceparent: str | None = None) -> Future[None]:
        """Send `question`; the future ends when the broker has it. The same `event_id` again is stored once.

        Raises:
            BufferFull: nothing was taken: slow down, then publish the same question again.
        """
        event_id = event_id or str(uuid7())
        safe = protect(question, self._key)
        key = safe.user_id or event_id
        return self._producer.send(QUESTION_ASKED, safe, key=key, event_id=event_id, traceparent=traceparent)

    def flush(self, timeout: float = 30.0) -> int:
        """Wait until all is delivered; returns how many questions still wait after `timeout` seconds."""
        return self._producer.flush(timeout)

    def close(self) -> None:
        """Deliver what waits, then stop. Nothing that `publish` accepted is lost quietly.

        Raises:
            TransientError: the broker did not take all of it.
        """
        self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def protect(question: QuestionAsked, key: str) -> QuestionAsked:
    """`question` as it may be stored: text and reasoning masked, user and session replaced, the moment of asking set."""
    classification = question.classification
    if classification is not None and classification.reasoning:
        classification = classification.model_copy(update={"reasoning": mask(classification.reasoning)})
    return question.model_copy(
        update={
            "question": mask(question.question),
            "user_id": pseudonym(question.user_id, key) if question.user_id else None,
            "session_id": pseudonym(question.session_id, key) if question.session_id else None,
            "asked_at": question.asked_at or datetime.now(UTC),
            "classification": classification,
        }
    )
