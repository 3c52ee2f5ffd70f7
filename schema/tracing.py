"""W3C Trace Context: the trace of a question goes on through its label and the training to the activation that these led to.

Format of ``traceparent``: https://www.w3.org/TR/trace-context/, version 00.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


def continued(traceparent: str | None) -> str | None:
    """`traceparent` for the next step: the same trace, a new span; None where there is none, or none that can be read."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return f"00-{match[1]}-{secrets.token_hex(8)}-{match[2]}" if match else None


def trace_id(traceparent: str | None) -> str | None:
    """The trace that `traceparent` belongs to, 32 hex digits; None where there is none."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match[1] if match else None
