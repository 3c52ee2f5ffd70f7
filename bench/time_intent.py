"""How long the years of a question take to find: ``python -m bench.time_intent``. CPU time, over the seed corpus."""

from __future__ import annotations

import statistics
import time
from datetime import date

from bench.servers import machine
from inference.time_intent import time_intent
from training.corpus import seed_rows

ROUNDS = 5
DAY = date(2026, 11, 23)


def microseconds(question: str) -> float:
    """The best of some rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        time_intent(question, DAY)
        found.append(time.thread_time() - began)
    return 1e6 * min(found)


def main() -> None:
    found = [microseconds(row.question) for row in seed_rows()]
    hundredths = statistics.quantiles(found, n=100)
    print(f"{len(found)} questions: median {statistics.median(found):.1f} µs, p99 {hundredths[98]:.1f} µs; {machine()}")


if __name__ == "__main__":
    main()
