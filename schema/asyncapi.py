"""The AsyncAPI 3.0 document, made from the events and topics that the code uses. Kafka bindings: version 0.5.0.

``schema/asyncapi.yaml`` is this document as a file (``make contract`` writes it); a test compares the two.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from schema.envelope import CONTENT_TYPE, TYPE_PREFIX, Envelope
from schema.events import EVENTS
from schema.topics import TOPICS, Topic

READERS: Final[dict[str, tuple[str, ...]]] = {
    "question.asked": ("intentloop-streams",),
    "question.labeled": ("intentloop-streams",),
    "consent.withdrawn": ("intentloop-streams",),
    "label.applied": ("intentloop-trigger",),
    "training.requested": ("intentloop-trainer",),
}
"""Consumer groups by topic. Topics that are not named here are read without a group, from their beginning."""


def asyncapi() -> dict[str, Any]:
    """The document as plain data."""
    envelopes = {event: Envelope[event] for event in EVENTS}  # type: ignore[valid-type]
    refs, definitions = models_json_schema(
        [(model, "validation") for model in envelopes.values()], ref_template="#/components/schemas/{model}"
    )
    messages = {
        event.__name__: {
            "name": TYPE_PREFIX + event.type,
            "summary": (event.__doc__ or "").strip().splitlines()[0],
            "contentType": CONTENT_TYPE,
            "payload": refs[model, "validation"],
        }
        for event, model in envelopes.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "intentloop",
            "version": "1",
            "description": "Events are CloudEvents 1.0, structured JSON mode; binary mode is read too. "
            "Topic names carry INTENTLOOP_TOPIC_PREFIX. Each topic with a consumer group has a dead-letter topic NAME.dlq.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {topic.stem: _channel(topic) for topic in TOPICS},
        "operations": {f"read-{topic.stem}": _operation(topic) for topic in TOPICS},
        "components": {"messages": messages, "schemas": definitions["$defs"]},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    layout: dict[str, Any] = {"cleanup.policy": [topic.cleanup]}
    if topic.cleanup == "delete":
        layout["retention.ms"] = topic.retention_ms
    name = topic.event.__name__
    return {
        "address": topic.stem,
        "description": f"Key: {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"kafka": {"partitions": topic.partitions, "topicConfiguration": layout, "bindingVersion": "0.5.0"}},
    }


def _operation(topic: Topic) -> dict[str, Any]:
    operation: dict[str, Any] = {"action": "receive", "channel": {"$ref": f"#/channels/{topic.stem}"}}
    if groups := READERS.get(topic.stem):
        operation["bindings"] = {"kafka": {"groupId": {"type": "string", "enum": list(groups)}, "bindingVersion": "0.5.0"}}
    return operation
