"""What a replica counts of each version that it has loaded, for the comparison of a candidate with what serves."""

from __future__ import annotations

import threading
from bisect import bisect_left

from schema.events import LATENCY_BOUNDS_MS, AnswerFigures


class Figures:
    """The counters of one loaded version on this replica. Safe to use from several threads."""

    def __init__(self, version: str, generation: int) -> None:
        self._lock = threading.Lock()
        self._told = AnswerFigures(version=version, generation=generation)
        self._sums: dict[str, float] = dict.fromkeys(
            ("answered", "failed", "unsure", "llm_calls", "confidence_sum", "compared", "agreed"), 0
        )
        self._latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)

    def answered(self, confidence: float, seconds: float, *, unsure: bool) -> None:
        """One answer of model and rules, which took `seconds`."""
        with self._lock:
            self._sums["answered"] += 1
            self._sums["unsure"] += unsure
            self._sums["confidence_sum"] += confidence
            self._latency[bisect_left(LATENCY_BOUNDS_MS, 1000 * seconds)] += 1

    def failed(self) -> None:
        """The version could not answer."""
        with self._lock:
            self._sums["failed"] += 1

    def asked_llm(self) -> None:
        """An LLM was called after its answer."""
        with self._lock:
            self._sums["llm_calls"] += 1

    def compared(self, *, agreed: bool) -> None:
        """The other version has answered the same question."""
        with self._lock:
            self._sums["compared"] += 1
            self._sums["agreed"] += agreed

    def told(self) -> AnswerFigures:
        """As they are now."""
        with self._lock:
            return self._told.model_copy(update={**self._sums, "latency": list(self._latency)})
