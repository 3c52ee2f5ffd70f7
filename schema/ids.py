"""Identities of events."""

from __future__ import annotations

import os
import random
import time
import uuid
from typing import Final

_RANDOM: Final = random.Random()
"""Seeded by the system. An id has to be unique, not secret, and asking the system for each took longer than all else."""
os.register_at_fork(after_in_child=_RANDOM.seed)


def uuid7() -> uuid.UUID:
    """A time-ordered UUID (RFC 9562, version 7): neighbours in time are neighbours in the index.

    Twelve bits hold the fraction of the millisecond (section 6.2, method 3), 62 are random.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds << 80) | (0x7 << 76) | ((rest * 4096 // 1_000_000) << 64) | (0b10 << 62) | _RANDOM.getrandbits(62)
    return uuid.UUID(int=value)
