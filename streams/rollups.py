"""The rollups of `schema.rollups`, changed with the rows they sum up, in the same transaction.

Their few rows are shared by all workers: `add` comes last in a transaction, so that they are locked shortly, and in the order
of their keys, so that no two transactions wait for one another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select
from sqlalchemy.dialects.mysql import insert

from schema.rollups import JUDGED_BY, LABELED, LABELS, PER_VERSION, RIGHT_BY, SKIPPED, TOTAL, UNSTATED, WAITING, Key
from schema.tables import intent_rollups as rollups
from schema.tables import intent_user_questions as questions

ANSWERED, LLM_CALLS, TIMED, MILLISECONDS, JUDGED, CORRECT = PER_VERSION


def add(connection: Connection, changes: Counter[Key]) -> None:
    """Add `changes` to the rollups, in one statement. A repeat adds again: give it what this transaction changed, once."""
    rows = [{"name": name, "item": item, "value": n} for (name, item), n in sorted(changes.items()) if n]
    if rows:
        statement = insert(rollups)
        connection.execute(statement.on_duplicate_key_update(value=rollups.c.value + statement.inserted.value), rows)


def of_questions(rows: Iterable[Mapping[str, Any]]) -> Counter[Key]:
    """What newly stored questions, by column, add: none of them is labelled yet."""
    changes: Counter[Key] = Counter()
    for row in rows:
        changes[TOTAL] += 1
        changes[WAITING if row["training_status"] == "pending" else SKIPPED] += 1
        if not row["consent_stated"]:
            changes[UNSTATED] += 1
        if row["model_version"] is not None:
            item = _item(row["model_version"])
            changes[ANSWERED, item] += 1
            if row["method"] == "llm_fallback":
                changes[LLM_CALLS, item] += 1
            if row["response_time_ms"] is not None:
                changes[TIMED, item] += 1
                changes[MILLISECONDS, item] += row["response_time_ms"]
    return changes


def of_label(before: Any, correct_intent: Collection[str]) -> Counter[Key]:
    """What a label changes; `before` has the question's columns as they were. A relabel takes the earlier label back."""
    changes: Counter[Key] = Counter((LABELS, intent) for intent in set(correct_intent))
    right = int(_same(before.intents, correct_intent))
    if before.is_labeled:
        changes.subtract((LABELS, intent) for intent in set(before.correct_intent))
        right -= int(_same(before.intents, before.correct_intent))
    else:
        changes[LABELED] += 1
        changes[WAITING] -= before.training_status == "pending"  # a label needs consent, so it waited
    if before.model_version is not None:
        item = _item(before.model_version)
        changes[JUDGED, item] += not before.is_labeled
        changes[CORRECT, item] += right
    if before.method is not None:
        changes[JUDGED_BY, before.method] += not before.is_labeled
        changes[RIGHT_BY, before.method] += right
    return changes


def of_undo(before: Any) -> Counter[Key]:
    """What it changes that a question, with its columns as they were, has no label any more, and waits for one again."""
    unlabelled = SimpleNamespace(**vars(before) | {"is_labeled": False, "training_status": "pending"})
    return Counter({key: -n for key, n in of_label(unlabelled, before.correct_intent).items()})


def of_withdrawal(waiting: int, skipped: int) -> Counter[Key]:
    """What a withdrawal changes: `skipped` questions were not used and never will be, `waiting` of them had no label yet."""
    return Counter({WAITING: -waiting, SKIPPED: skipped})


def recount(connection: Connection) -> dict[Key, int]:
    """The rollups that are not 0, counted from the questions: minutes at millions. What `schema.rollups.read` must equal."""
    found: Counter[Key] = Counter()
    pending = questions.c.training_status == "pending"
    waiting = pending & questions.c.consent_training & ~questions.c.is_labeled
    kinds = {
        LABELED: questions.c.is_labeled,
        SKIPPED: questions.c.training_status == "skipped",
        UNSTATED: ~questions.c.consent_stated,
        WAITING: waiting,
    }
    sums = [_count_if(kind) for kind in kinds.values()]
    total, *numbers = connection.execute(select(func.count(), *sums).select_from(questions)).one()
    found[TOTAL] = total
    found.update(dict(zip(kinds, numbers, strict=True)))
    version = questions.c.model_version
    answers = select(
        version,
        func.count(),
        _count_if(questions.c.method == "llm_fallback"),
        func.count(questions.c.response_time_ms),
        func.coalesce(func.sum(questions.c.response_time_ms), 0),
    ).where(version.is_not(None))
    for name, *numbers in connection.execute(answers.group_by(version)):
        found.update({(of, _item(name)): int(n) for of, n in zip(PER_VERSION, numbers, strict=False)})
    label = (version, questions.c.method, questions.c.intents, questions.c.correct_intent)
    judged = select(*label, func.count()).where(questions.c.is_labeled)
    for name, method, intents, correct, number in connection.execute(judged.group_by(*label)):
        found.update(dict.fromkeys(((LABELS, intent) for intent in correct or ()), number))
        if name is not None:
            found[JUDGED, _item(name)] += number
            found[CORRECT, _item(name)] += number if _same(intents, correct) else 0
        if method is not None:
            found[JUDGED_BY, method] += number
            found[RIGHT_BY, method] += number if _same(intents, correct) else 0
    return {key: n for key, n in found.items() if n}


def refill(connection: Connection) -> None:
    """Make the rollups equal to a recount. A repeat changes nothing. Nothing else may write questions meanwhile."""
    connection.execute(rollups.delete())
    add(connection, Counter(recount(connection)))


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def _same(one: Collection[str] | None, other: Collection[str] | None) -> bool:
    """An answer is correct where its intents are the label's, whatever their order."""
    return set(one or ()) == set(other or ())


def _item(version: str) -> str:
    """The database compares as if blanks at the end were not there."""
    return version.rstrip(" ")
