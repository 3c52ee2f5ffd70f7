"""What is counted by keyword and intent: how often both came together, how often a rule spoke, and whether people agreed.

All workers change these rows. Each function locks them in one order, so that no two transactions wait for one another;
call them last in a transaction, rules before counts, so that they are locked shortly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from sqlalchemy import Connection

from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_keyword_rules as rules
from schema.tables import utc_now
from streams.literals import execute_rows, literal_for, run

Pair = tuple[str, str]
"""A keyword and an intent."""
RuleColumn = Literal["usage_count", "success_count", "failure_count"]
_WORD: Final = literal_for(counts.c.keyword)


def add_to_counts(connection: Connection, added: Counter[Pair]) -> None:
    """Add to the keyword counts."""
    now = utc_now()
    rows = (f"({_WORD(word)},'{intent}',{n},'{now}')" for (word, intent), n in sorted(added.items()))
    execute_rows(
        connection,
        f"INSERT INTO {counts.name} (keyword, intent, total, updated_at) VALUES ",
        rows,
        " ON DUPLICATE KEY UPDATE total = total + VALUES(total), updated_at = VALUES(updated_at)",
    )


def add_to_rules(connection: Connection, changes: Mapping[RuleColumn, Counter[Pair]]) -> None:
    """Add `changes` to those rules that there are, in one statement."""
    wanted = {pair for added in changes.values() for pair, n in added.items() if n}
    if not wanted:
        return
    found = run(connection, f"SELECT id, keyword, intent FROM {rules.name} WHERE keyword IN ({words_of(wanted)})")
    ids = {(word, intent): number for number, word, intent in found if (word, intent) in wanted}
    assignments = []
    for column, added in changes.items():
        cases = " ".join(f"WHEN {ids[pair]} THEN {n}" for pair, n in added.items() if n and pair in ids)
        if cases:
            assignments.append(f"{column} = {column} + CASE id {cases} ELSE 0 END")
    if assignments:
        listed = ",".join(map(str, sorted(ids.values())))
        run(connection, f"UPDATE {rules.name} SET {', '.join(assignments)} WHERE id IN ({listed})")


def words_of(pairs: Iterable[Pair]) -> str:
    """The keywords of `pairs` as a list of SQL literals.

    Rows are looked up by word alone: a list of pairs would be compared one by one, a list of words is found in the key.
    """
    return ",".join(_WORD(word) for word in sorted({word for word, _ in pairs}))
