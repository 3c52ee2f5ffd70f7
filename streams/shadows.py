"""`shadow.scored` becomes rows: what a version would have answered that did not answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.mysql import insert

from schema.database import RowRefused, in_transaction
from schema.envelope import Envelope, decode
from schema.events import ShadowScored
from schema.tables import intent_shadow_answers as shadows
from streams.records import Outcome, Record, Refused, split


def store_shadow_batch(engine: Engine, records: Sequence[Record]) -> Outcome:
    """Store what is not there yet in one transaction; where the database refuses a row, each in one of its own."""
    good, refused = split(records, lambda record: decode(ShadowScored, record.value, record.headers))
    try:
        if good:
            in_transaction(engine, partial(_store, scored=[envelope for _, envelope in good]))
    except RowRefused:
        for record, envelope in good:
            try:
                in_transaction(engine, partial(_store, scored=[envelope]))
            except RowRefused as error:
                refused.append(Refused(record, error))
    return Outcome({"stored": len(records) - len(refused), "dead_lettered": len(refused)}, refused)


def _store(connection: Connection, scored: Sequence[Envelope[ShadowScored]]) -> None:
    rows = [
        {
            "event_id": one.key_bytes,
            "text_hash": bytes.fromhex(one.data.text_hash),
            "version": one.data.version,
            "generation": one.data.generation,
            "intents": one.data.intents,
            "confidence": round(one.data.confidence, 4),
            "served_version": one.data.served_version,
            "agreed": one.data.agreed,
            "scored_at": one.data.scored_at.replace(tzinfo=None),
        }
        for one in scored
    ]
    statement = insert(shadows)
    connection.execute(statement.on_duplicate_key_update(event_id=statement.inserted.event_id), rows)
