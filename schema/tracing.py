"""W3C Trace Context: the trace of a question goes on through its label and the training to the activation that these led to.

Format of ``traceparent``: https://www.w3.org/TR/trace-context/, version 00.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from pydantic import BaseModel, ValidationError

from schema.envelope import Headers

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


def continued(traceparent: str | None) -> str | None:
    """`traceparent` for the next step: the same trace, a new span; None where there is none, or none that can be read."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return f"00-{match[1]}-{secrets.token_hex(8)}-{match[2]}" if match else None


class _Names(BaseModel):
    id: str = ""
    traceparent: str | None = None


def log_fields(value: bytes | None, headers: Headers) -> dict[str, str]:
    """What a log line says of a record: ``event_id`` and ``trace_id``, as far as they can be read. Never its text."""
    given = {name.lower().removeprefix("ce_"): (said or b"").decode(errors="replace") for name, said in headers}
    try:
        names = _Names.model_validate_json(value or b"{}")
    except ValidationError:
        names = _Names()
    event_id, trace = names.id or given.get("id", ""), trace_id(names.traceparent or given.get("traceparent"))
    return {name: said[:64] for name, said in (("event_id", event_id), ("trace_id", trace)) if said}


def trace_id(traceparent: str | None) -> str | None:
    """The trace that `traceparent` belongs to, 32 hex digits; None where there is none."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match[1] if match else None
