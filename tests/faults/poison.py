"""Poison: every kind of record that can never become a row, and must hold nobody up.

Each kind is a function from a random generator to a value and headers. What the schema's own tests refuse is here too:
the point is what the worker does with it, among 20,000 others.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final

from schema.envelope import Headers
from schema.events import QuestionAsked

Poison = tuple[bytes | None, Headers]
TYPE: Final = "com.intentloop.question.asked"
REFUSED_MARK: Final = "〔数据库拒收〕"
"""What the CHECK constraint of the test's own database refuses in a question."""
MEGABYTES: Final = 2 * 1024 * 1024


def envelope(chance: random.Random, *, version: str = "v1", kind: str = TYPE, **data: Any) -> bytes:
    """An event with a fresh id whose data is a good question but for `data`."""
    event = {
        "specversion": "1.0",
        "id": f"poison-{chance.getrandbits(64):x}",
        "source": "tests/faults",
        "type": f"{kind}.{version}",
        "time": "2026-03-01T08:00:00Z",
        "data": {"question": "今年财运如何", "consent": {"training": True}} | data,
    }
    return json.dumps(event, ensure_ascii=False).encode()


def classification(**changes: Any) -> dict[str, Any]:
    """A good answer but for `changes`."""
    good = {
        "intents": ["wealth"],
        "confidence": 0.5,
        "keywords": ["财运"],
        "method": "local_model",
        "response_time_ms": 1.5,
        "is_fortune_related": True,
        "model_version": "v0",
        "rules_revision": 0,
    }
    return good | changes


def _wrong_types(chance: random.Random) -> bytes:
    wrong: list[dict[str, Any]] = [
        {"question": 5},
        {"question": None},
        {"user_id": ["u"]},
        {"classification": classification(intents="wealth")},
        {"classification": classification(confidence="high")},
        {"consent": True},
        {"no_such_field": 1},
    ]
    return envelope(chance, **chance.choice(wrong))


def _noise(chance: random.Random) -> bytes:
    """Two megabytes that no codec makes smaller than half."""
    return envelope(chance, question=chance.randbytes(MEGABYTES // 2).hex())


LIGHT: Final[dict[str, Callable[[random.Random], Poison]]] = {
    "broken JSON": lambda c: (envelope(c)[: c.randrange(1, 80)], []),
    "a JSON value that is no object": lambda c: (c.choice([b'"a string"', b"[]", b"17", b"null"]), []),
    "empty value": lambda _: (b"", []),
    "wrong types": lambda c: (_wrong_types(c), []),
    "tombstone": lambda _: (None, []),
    "5,000-character question": lambda c: (envelope(c, question="财" * 5000), []),
    "unknown event type": lambda c: (envelope(c, kind="com.intentloop.question.sung"), []),
    "unknown version": lambda c: (envelope(c, version="v9"), []),
    "invalid UTF-8": lambda c: (envelope(c).replace("今年".encode(), b"\xff\xfe\xc0"), []),
    "half a surrogate pair": lambda c: (envelope(c).replace("今年".encode(), b"\\ud83d"), []),
    "invalid UTF-8 in a header": lambda c: (envelope(c), [("ce_specversion", b"1.0"), ("ce_type", b"\xff")]),
    "a header without a value": lambda _: (b"{", [("content-type", None)]),  # type: ignore[list-item]
    "a moment beyond the calendar": lambda c: (envelope(c, asked_at="9999-12-31T23:59:59-12:00"), []),
}
HEAVY: Final[dict[str, Callable[[random.Random], Poison]]] = {
    "2 MB value": lambda c: (envelope(c, question="财" * (MEGABYTES // 3)), []),
    "2 MB of noise": lambda c: (_noise(c), []),
    "a number the column does not hold": lambda c: (
        envelope(c, classification=classification(rules_revision=2**31)),
        [],
    ),
    "a row the database refuses": lambda c: (envelope(c, question=f"{REFUSED_MARK}{c.random()}"), []),
}
KINDS: Final = LIGHT | HEAVY


def rotation(kinds: dict[str, Callable[[random.Random], Poison]]) -> list[str]:
    """An order of `kinds` in which the heavy ones, which cost everyone time, come once among four of each other."""
    names = [name for name in kinds if name in LIGHT] * 4 + [name for name in kinds if name in HEAVY]
    random.Random(5).shuffle(names)
    return names


assert QuestionAsked.type.startswith("question.asked."), "TYPE is out of date"
