"""How many rules labelled questions give, and how often they are right on other questions. ``python -m bench.rules``."""

from __future__ import annotations

import argparse
import random
import time

from rich.console import Console
from rich.table import Table

from bench.servers import machine
from inference.rules import KeywordRules, RuleSet
from training.corpus import seed_rows, split
from training.keywords import dictionary, mine


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[700, 0], help="labelled questions; 0: all")
    arguments = parser.parse_args()
    sides = split(seed_rows())
    every = [*sides.training, *sides.validation]
    random.Random(1).shuffle(every)
    table = Table(title=f"Rules on {len(sides.held_out)} held-out questions; {machine()}", title_justify="left")
    for heading in (
        "labelled",
        "rules",
        "spoke",
        "right",
        "precision",
        "rules that spoke, each right in >= 80 %",
        "covered",
        "seconds",
    ):
        table.add_column(heading, justify="right")
    for size in arguments.sizes:
        rows = every[:size] if size else every
        began = time.monotonic()
        rules = mine(rows)
        took = time.monotonic() - began
        finder = KeywordRules(RuleSet(revision=1, rules=rules), dictionary(rules).split("\n"))
        spoke: dict[tuple[str, str], list[bool]] = {}
        covered = 0
        for row in sides.held_out:
            matched = finder.read(row.question).matched
            covered += bool(matched)
            for rule in matched:
                spoke.setdefault((rule.keyword, rule.intent), []).append(rule.intent in row.intents)
        said = [right for judged in spoke.values() for right in judged]
        good = sum(sum(judged) >= 0.8 * len(judged) for judged in spoke.values())
        share = f"{sum(said) / max(1, len(said)):.3f}"
        heard = f"{good} of {len(spoke)}"
        covers = f"{covered / len(sides.held_out):.2f}"
        table.add_row(str(len(rows)), str(len(rules)), str(len(said)), str(sum(said)), share, heard, covers, f"{took:.1f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
