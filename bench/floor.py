"""The floor of `bench.ingest`: a bare confluent-kafka loop, consume -> parse -> one multi-row insert -> commit.

``python -m bench.floor GROUP TOPIC``. No validation, masking, idempotence, counts or dead letters.
"""

from __future__ import annotations

import os
import sys

from confluent_kafka import Consumer

from bench.rows import row
from schema.database import open_engine
from schema.settings import load_settings
from schema.tables import intent_user_questions as questions


def main() -> None:
    """Run until it is killed."""
    settings = load_settings(os.environ)
    group, topic = sys.argv[1:]
    engine = open_engine(settings.database_url.get_secret_value())
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    while True:
        messages = consumer.consume(1000, timeout=0.5)
        rows = [row(message.value() or b"") for message in messages]
        if rows:
            with engine.begin() as connection:
                connection.execute(questions.insert(), rows)
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
