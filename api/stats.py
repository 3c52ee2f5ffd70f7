"""Four groups of numbers: the data, the trainings, the rules, and whether the answers got better.

Those of the questions are read from the rollups, which cost the same at any number of questions. A rate without a
denominator is null, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, case, func, select

from api.state import Api
from api.wire import Call, Nothing
from schema.batches import ENDED
from schema.rollups import JUDGED_BY, LABELED, LABELS, PER_VERSION, RIGHT_BY, SKIPPED, TOTAL, UNSTATED, Key, read
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_model_training_batches as batches
from schema.taxonomy import INTENTS

METHODS: Final = ("local_model", "keyword_fallback", "llm_fallback")
STATUSES: Final = ("pending", "training", *sorted(ENDED))


async def stats(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """All four groups, from one transaction."""

    def work(connection: Connection) -> dict[str, Any]:
        sums = read(connection)
        return {
            "data_quality": data_quality(sums),
            "training": training(connection),
            "rules": rule_use(connection),
            "model_effect": model_effect(sums),
        }

    return await api.database(work)


def data_quality(sums: Mapping[Key, int]) -> dict[str, Any]:
    """How much there is, how much is labelled, and how the labels lie over the intents."""
    total, labeled = sums.get(TOTAL, 0), sums.get(LABELED, 0)
    return {
        "total": total,
        "labeled": labeled,
        "unlabeled": total - labeled,
        "label_rate": rate(labeled, total),
        "per_intent": {intent: sums.get((LABELS, intent), 0) for intent in INTENTS},
        "skipped": sums.get(SKIPPED, 0),
        "without_stated_consent": sums.get(UNSTATED, 0),
    }


def training(connection: Connection) -> dict[str, Any]:
    """How the batches ended, how good the last one was, and how long they take."""
    found = connection.execute(select(batches.c.training_status, func.count()).group_by(batches.c.training_status))
    by_status = dict.fromkeys(STATUSES, 0)
    for status, number in found:
        by_status[status] = number
    latest = (
        select(batches.c.batch_id, batches.c.model_version, batches.c.model_accuracy)
        .where(batches.c.training_status == "completed", batches.c.model_accuracy.is_not(None))
        .order_by(batches.c.training_end_time.desc(), batches.c.id.desc())
        .limit(1)
    )
    last = connection.execute(latest).one_or_none()
    mean = select(func.avg(batches.c.training_duration_sec)).where(batches.c.training_status.in_(ENDED))
    seconds = connection.execute(mean).scalar_one()
    return {
        "batches": by_status,
        "total": sum(by_status.values()),
        "success_rate": rate(by_status["completed"], sum(by_status[status] for status in ENDED - {"cancelled"})),
        "latest_version": last and last.model_version,
        "latest_accuracy": last and last.model_accuracy,
        "mean_duration_sec": None if seconds is None else round(float(seconds), 3),
    }


def rule_use(connection: Connection) -> dict[str, Any]:
    """Whether the keyword rules speak, and whether they are right when they do."""
    total, enabled, usage, success, failure = connection.execute(
        select(
            func.count(),
            _count_if(rules.c.enabled),
            func.coalesce(func.sum(rules.c.usage_count), 0),
            func.coalesce(func.sum(rules.c.success_count), 0),
            func.coalesce(func.sum(rules.c.failure_count), 0),
        ).select_from(rules)
    ).one()
    return {
        "total": total,
        "enabled": int(enabled),
        "usage": int(usage),
        "success": int(success),
        "failure": int(failure),
        "success_rate": rate(int(success), int(success) + int(failure)),
    }


@dataclass(slots=True)
class Effect:
    """How one version did."""

    answered: int = 0
    llm_calls: int = 0
    timed: int = 0
    milliseconds: int = 0
    labeled: int = 0
    correct: int = 0

    def add(self, other: Effect) -> None:
        """Add another version's numbers."""
        self.answered += other.answered
        self.llm_calls += other.llm_calls
        self.timed += other.timed
        self.milliseconds += other.milliseconds
        self.labeled += other.labeled
        self.correct += other.correct

    def told(self) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "answered": self.answered,
            "labeled": self.labeled,
            "correct": self.correct,
            "accuracy": rate(self.correct, self.labeled),
            "llm_call_rate": rate(self.llm_calls, self.answered),
            "mean_response_time_ms": round(self.milliseconds / self.timed, 3) if self.timed else None,
        }


def model_effect(sums: Mapping[Key, int]) -> dict[str, Any]:
    """Per version that answered, and per method: how its answers compare with the labels that people gave later.

    An answer is correct where its intents are the label's, whatever their order.
    """
    versions = sorted({item for name, item in sums if name in PER_VERSION})
    effects = {item: Effect(**{name: sums.get((name, item), 0) for name in PER_VERSION}) for item in versions}
    overall = Effect()
    for effect in effects.values():
        overall.add(effect)
    return {
        "overall": overall.told(),
        "versions": {name: effect.told() for name, effect in effects.items()},
        "methods": {method: _judged(sums, method) for method in METHODS},
    }


def _judged(sums: Mapping[Key, int], method: str) -> dict[str, Any]:
    """How the answers of one method compare with people's labels: an LLM's answer is a weak label, and only compared."""
    labeled, correct = sums.get((JUDGED_BY, method), 0), sums.get((RIGHT_BY, method), 0)
    return {"labeled": labeled, "correct": correct, "accuracy": rate(correct, labeled)}


def _count_if(condition: Any) -> Any:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def rate(part: int, whole: int) -> float | None:
    """`part` of `whole`, 0..1; None where there is nothing to take a part of."""
    return round(part / whole, 4) if whole else None
