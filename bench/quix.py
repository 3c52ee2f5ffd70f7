"""Quix Streams with a batching sink and the same insert, for `bench.ingest`; runs in an environment of its own.

``python -m bench.quix GROUP TOPIC``. Its sink makes one batch per partition and checkpoint; a checkpoint every 12,000 events
makes them about as large as the batches of the others.
"""

from __future__ import annotations

import os
import sys

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch
from sqlalchemy import create_engine

from bench.rows import row
from schema.tables import intent_user_questions as questions


class QuestionSink(BatchingSink):
    """One multi-row insert per batch."""

    def __init__(self) -> None:
        super().__init__()
        self._engine = create_engine(os.environ["INTENTLOOP_DATABASE_URL"], isolation_level="READ COMMITTED")

    def write(self, batch: SinkBatch) -> None:
        """Insert a batch."""
        for part in batch.iter_chunks(1000):
            with self._engine.begin() as connection:
                connection.execute(questions.insert(), [row(item.value) for item in part])


def main() -> None:
    """Run until it is ended."""
    group, topic = sys.argv[1:]
    app = Application(
        broker_address=os.environ["INTENTLOOP_KAFKA"],
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_every=12_000,
        commit_interval=2.0,
        loglevel="WARNING",
    )
    app.dataframe(app.topic(topic, value_deserializer="bytes", key_deserializer="bytes")).sink(QuestionSink())
    app.run()


if __name__ == "__main__":
    main()
