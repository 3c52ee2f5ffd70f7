"""Make version v0 from the built-in base and the seed corpus: ``python -m training.base.build``.

A first training like any other (`training.run`), with names and dates that make it the same each time.
"""

from __future__ import annotations

import argparse
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from training.base import BUILTIN, THREADS, V0
from training.base.pretrain import tell
from training.job import TrainJob
from training.run import train

SEED_RULES: Final = 300


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=V0)
    out: Path = parser.parse_args().out
    started = time.monotonic()
    made = out.with_name(f"{out.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    job = TrainJob(
        rows=(),
        parent=BUILTIN,
        out=made,
        version="v0",
        rules_revision=0,
        rule_limit=SEED_RULES,
        threads=THREADS,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    result = train(job, tell)
    shutil.rmtree(out, ignore_errors=True)
    made.rename(out)
    print(f"{result.reason}; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
