"""How each keyword rule does on labelled questions.

The figures are those of Snorkel's ``LFAnalysis`` (Ratner et al., "Snorkel: Rapid Training Data Creation with Weak
Supervision", 2017): a rule is a labelling function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from inference.rules import KeywordRules
from schema.taxonomy import Intent
from training.corpus import Row

RULES_REPORT: Final = "reports/rules.json"
"""The file of an artefact that holds the report."""
Key = tuple[str, Intent]


def rule_report(rules: KeywordRules, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Each rule that speaks on some of `rows`, the one that speaks most first.

    Every entry holds ``keyword`` and ``intent``; ``coverage``, ``overlaps`` and ``conflicts``, the shares of `rows` on which the
    rule speaks, speaks beside another rule, and speaks against one for an intent that the rule does not name; ``correct`` and
    ``incorrect``, the rows on which it speaks and that carry its intent or not; ``accuracy``, the share of the former.
    """
    speaks: Counter[Key] = Counter()
    beside: Counter[Key] = Counter()
    against: Counter[Key] = Counter()
    correct: Counter[Key] = Counter()
    for row in rows:
        matched = {(one.keyword, one.intent) for one in rules.read(row.question).matched}
        intents = {intent for _, intent in matched}
        speaks.update(matched)
        correct.update(key for key in matched if key[1] in row.intents)
        if len(matched) > 1:
            beside.update(matched)
        if len(intents) > 1:
            against.update(matched)
    return [
        {
            "keyword": keyword,
            "intent": intent,
            "coverage": round(number / len(rows), 6),
            "overlaps": round(beside[keyword, intent] / len(rows), 6),
            "conflicts": round(against[keyword, intent] / len(rows), 6),
            "correct": correct[keyword, intent],
            "incorrect": number - correct[keyword, intent],
            "accuracy": round(correct[keyword, intent] / number, 4),
        }
        for (keyword, intent), number in sorted(speaks.items(), key=lambda item: (-item[1], item[0]))
    ]


def rules_alone(rules: KeywordRules, rows: Sequence[Row]) -> dict[str, float | int]:
    """What the rules answer without a model: the share of `rows` that they answer, and of these the share that is right.

    An answer is right if the row carries its first intent, as for a model's confidence.
    """
    answered = [(row, found[0][0]) for row in rows if (found := rules.read(row.question).answer)]
    right = sum(first in row.intents for row, first in answered)
    return {
        "rules": len(rules),
        "answered": round(len(answered) / len(rows), 4) if rows else 0.0,
        "right": round(right / len(answered), 4) if answered else 0.0,
    }
