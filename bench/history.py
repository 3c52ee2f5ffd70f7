"""Millions of stored questions, made from some thousands of real ones in the database itself.

Every original is copied equally often, so the keyword counts of the copies are multiples of its own. Copies spread over the
last ninety days in the order of their ids, with users, confidences and labels of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.schema import CreateIndex, DropIndex

from schema.database import in_transaction
from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_keyword_snapshots as snapshots
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from streams.rollups import refill

DAYS: Final = 90
USERS: Final = 1_000_000
PAIRS: Final = 20_000
"""Keyword-intent pairs: what a thousand rules and a long dictionary make over eleven intents."""
KEPT: Final = frozenset({"id", "waiting_band", "waiting_since", "stored_on"})
"""Columns that the server fills."""
CHANGED: Final = {
    # like UUIDv7: the moment first, then chance
    "event_id": "UNHEX(CONCAT(LPAD(HEX(CAST(UNIX_TIMESTAMP(o.at) * 1000 AS UNSIGNED)), 12, '0'), '7', MID(MD5(RAND()), 1, 19)))",
    "text_hash": "UNHEX(MD5(CONCAT(RAND(), o.id)))",
    # some users ask often, most rarely
    "user_id": f"CONCAT('p1_', MD5(FLOOR({USERS} * POW(RAND(), 1.5))))",
    "confidence": "LEAST(1, GREATEST(0, o.confidence + (RAND() - 0.5) * 0.1))",
    "is_labeled": "o.chance < 0.02",
    "correct_intent": "IF(o.chance < 0.016, o.intents, IF(o.chance < 0.02, '[\"general\"]', NULL))",
    "labeler_id": "IF(o.chance < 0.02, 'ann', NULL)",
    "labeled_at": "IF(o.chance < 0.02, o.at, NULL)",
    "training_status": "IF(o.chance < 0.0199, 'used', IF(o.chance < 0.97, 'pending', 'skipped'))",
    "training_batch_id": "IF(o.chance < 0.0199, CONCAT('b-', FLOOR(o.chance * 50000)), NULL)",
    "training_model_version": "IF(o.chance < 0.0199, CONCAT('v', FLOOR(o.chance * 5000)), NULL)",
    "model_version": "CONCAT('v', :version)",
    "consent_training": "o.chance < 0.97",
    "asked_at": "o.at",
    "created_at": "o.at",
    "updated_at": "o.at",
}


def grow(engine: Engine, rows: int, told: Callable[[int], None]) -> None:
    """Copy what is stored until about `rows` more questions are there; counts, rollups and snapshots are as they should be.

    `engine` must wait for long statements. `told` is called with the number of rows that are there.
    """
    named = sorted(questions.indexes, key=str)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE originals AS SELECT * FROM {questions.name}"))
        for index in named:
            connection.execute(DropIndex(index))  # building them at the end is ten times faster
    originals = in_transaction(engine, lambda connection: connection.execute(text("SELECT COUNT(*) FROM originals")).scalar_one())
    rounds = max(1, rows // originals)
    for number in range(rounds):
        in_transaction(engine, partial(_copy, number=number, rounds=rounds))
        told((number + 2) * originals)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE originals"))
        for index in named:
            connection.execute(CreateIndex(index))
        connection.execute(text(f"ANALYZE TABLE {questions.name}"))
    in_transaction(engine, refill)
    in_transaction(engine, partial(_count, times=rounds + 1))
    for hours in (*range(8 * 24, 3, -1), 3, 2.5, 2, 1.5, 1, 0.5):
        in_transaction(engine, partial(_snapshot, hours=hours))


def _copy(connection: Connection, number: int, rounds: int) -> None:
    """One copy of every original, in the `number`-th of `rounds` stretches of the ninety days."""
    names = [column.name for column in questions.columns if column.name not in KEPT]
    values = [CHANGED.get(name, f"o.`{name}`") for name in names]
    # limited, or the server merges the inner query into the outer one and takes a new chance at each use
    seconds = DAYS * 86_400 / rounds
    begin = utc_now() - timedelta(seconds=(rounds - number) * seconds)
    source = f"(SELECT *, RAND() AS chance, :begin + INTERVAL RAND() * :seconds SECOND AS at FROM originals LIMIT {2**62}) AS o"
    columns = ", ".join(f"`{name}`" for name in names)
    statement = text(f"INSERT INTO {questions.name} ({columns}) SELECT {', '.join(values)} FROM {source}")
    connection.execute(statement, {"begin": begin, "seconds": seconds, "version": 20 * number // rounds})


def _count(connection: Connection, times: int) -> None:
    """The keyword counts of all copies, and rare words up to `PAIRS` pairs."""
    connection.execute(counts.update().values(total=counts.c.total * times))
    there = connection.execute(select(func.count()).select_from(counts)).scalar_one()
    rare = [
        {"keyword": f"生僻词{n}", "intent": "general", "total": 1 + n % 97, "updated_at": utc_now()}
        for n in range(max(0, PAIRS - there))
    ]
    if rare:
        connection.execute(counts.insert(), rare)
    # a word that was asked for ten times in ninety days was last asked for nine days ago or less
    ago = text(f"UPDATE {counts.name} SET updated_at = UTC_TIMESTAMP(6) - INTERVAL RAND() * {DAYS * 86_400} / total SECOND")
    connection.execute(ago)


def _snapshot(connection: Connection, hours: float) -> None:
    """The counts as they were some hours ago, in steady growth."""
    moment = utc_now() - timedelta(hours=hours)
    connection.execute(snapshots.insert(), {"taken_at": moment, "keyword": "", "intent": "", "total": 0})
    share = 1 - hours / (24 * DAYS)
    statement = text(
        f"INSERT INTO {snapshots.name} (taken_at, keyword, intent, total)"
        f" SELECT :moment, keyword, intent, ROUND(total * :share) FROM {counts.name}"
    )
    connection.execute(statement, {"moment": moment, "share": share})
