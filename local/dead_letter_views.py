"""A dead letter as text for people and as JSON for scripts.

What stands in a record came from outside: for people, control characters are shown instead of sent to their terminal.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from streams.dead_letters import Letter

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` with control characters written out, but for tabs and line ends."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def pretty(value: bytes | None) -> bytes:
    """`value` indented if it is JSON, else as it is."""
    try:
        return json.dumps(json.loads(value or b""), ensure_ascii=False, indent=2).encode()
    except (ValueError, RecursionError):
        return value or b""


def as_line(letter: Letter) -> str:
    """Id, when it died, reason and message."""
    what = f" [{letter.handled.how}]" if letter.handled else ""
    line = f"{letter.id!s:28} {_stamp(letter.died_at)} {letter.reason:20}{what} {letter.message}"
    return printable(line).replace("\n", " ")


def as_text(letter: Letter) -> str:
    """All of it."""
    facts = {
        "id": str(letter.id),
        "stands at": str(letter.place) + (f" ({letter.copies} copies)" if letter.copies > 1 else ""),
        "produced": _stamp(letter.timestamp),
        "died": _stamp(letter.died_at),
        "reason": letter.reason,
        "message": letter.message,
        "consumer": letter.consumer,
    }
    if letter.replayed_from:
        facts["sent again"] = f"from the dead letter {letter.replayed_from}"
    if letter.handled:
        facts["handled"] = f"{letter.handled.how} {_stamp(letter.handled.at)}"
    facts["key"] = _readable(letter.key)
    lines = [f"{name:10} {said}" for name, said in facts.items()]
    lines += ["headers", *(f"  {name}: {_readable(said)}" for name, said in letter.original_headers)]
    lines += ["value" if letter.size < 0 else f"value, {letter.size} bytes", _readable(letter.value and pretty(letter.value))]
    return printable("\n".join([*lines, "trace", letter.trace.rstrip()]))


def as_summary(letter: Letter) -> dict[str, Any]:
    """What a list says of it."""
    handled = letter.handled and {"how": letter.handled.how, "at": _stamp(letter.handled.at)}
    return {
        "id": str(letter.id),
        "place": str(letter.place),
        "topic": letter.id.topic,
        "reason": letter.reason,
        "message": letter.message,
        "consumer": letter.consumer,
        "timestamp": _stamp(letter.timestamp),
        "dead_lettered_at": _stamp(letter.died_at),
        "replayed_from": letter.replayed_from or None,
        "copies": letter.copies,
        "size": None if letter.size < 0 else letter.size,
        "handled": handled,
    }


def as_object(letter: Letter) -> dict[str, Any]:
    """All of it. Bytes that are no UTF-8 are in base64, under a name that says so."""
    headers = [{"name": name, **_bytes("value", said)} for name, said in letter.headers]
    rest = {"headers": headers, "trace": letter.trace}
    return as_summary(letter) | _bytes("key", letter.key) | _bytes("value", letter.value) | rest


def _bytes(name: str, value: bytes | None) -> dict[str, str | None]:
    try:
        return {name: None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {name: None, f"{name}_base64": base64.b64encode(value or b"").decode()}


def _readable(value: bytes | None) -> str:
    return "(none)" if value is None else value.decode(errors="backslashreplace")


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
