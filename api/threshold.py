"""How far the labels are from the next training: what the trigger waits for (`consumers.trigger.decide`)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from schema.batches import count_open
from schema.rollups import labels_by_intent
from schema.settings import Settings
from schema.taxonomy import INTENTS


def toward_training(connection: Connection, settings: Settings) -> dict[str, Any]:
    """Distinct labelled questions that are ready and missing, and the labels of each intent beside what it needs."""
    ready, have = count_open(connection), labels_by_intent(connection)
    return {
        "threshold": settings.train_threshold,
        "ready": ready,
        "missing": max(0, settings.train_threshold - ready),
        "per_intent": {intent: {"have": have[intent], "need": settings.intent_floor} for intent in INTENTS},
    }
