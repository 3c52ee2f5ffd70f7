"""An event as a row of intent_user_questions, by the shortest way: for the floor and for Quix Streams.

The columns are those that the worker writes; text_hash, which it computes, is here the event's id.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any


def row(value: bytes) -> dict[str, Any]:
    """The row of an event."""
    event = json.loads(value)
    data = event["data"]
    said = data["classification"]
    key = uuid.UUID(event["id"]).bytes
    asked_at = datetime.fromisoformat(data["asked_at"]).replace(tzinfo=None)
    return {
        "event_id": key,
        "question": data["question"],
        "text_hash": key,
        "user_id": data["user_id"],
        "session_id": data["session_id"],
        "solar_date": None,
        "solar_time": None,
        "gender": None,
        "intents": said["intents"],
        "confidence": said["confidence"],
        "rule_types": said["rule_types"],
        "time_intent": said["time_intent"],
        "keywords": said["keywords"],
        "method": said["method"],
        "response_time_ms": said["response_time_ms"],
        "is_fortune_related": said["is_fortune_related"],
        "is_ambiguous": said["is_ambiguous"],
        "reasoning": said["reasoning"],
        "model_version": said["model_version"],
        "rules_revision": said["rules_revision"],
        "matched_rules": said["matched_rules"],
        "consent_training": True,
        "consent_stated": True,
        "training_status": "pending",
        "asked_at": asked_at,
        "created_at": asked_at,
        "updated_at": asked_at,
    }
