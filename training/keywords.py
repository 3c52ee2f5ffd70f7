"""Keyword rules mined from labelled questions: words that speak for an intent, by support and agreement with people.

A word is counted once per question. It becomes a rule for an intent if enough questions hold it, a large enough share of them
carries that intent, and that share cannot be luck: its lower bound is high enough too. Words come from `inference.rules`, so
that a mined word is one that the replicas find again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from inference.rules import KeywordRules, Rule, RuleSet
from schema.errors import ConfigError, RequestError
from schema.taxonomy import NON_FORTUNE, Intent
from training.corpus import Row
from training.new_words import new_words

MAX_BOOST: Final = 0.3
MIN_SUPPORT: Final = 3
MIN_CONFIDENCE: Final = 0.8
MIN_BOUND: Final = 0.37
"""A rule needs this much precision even at the lower end of what its evidence leaves open."""
MIN_LIFT: Final = 1.5
LIMIT: Final = 1000
MIN_JUDGED: Final = 5
"""Live answers that people judged, before they count."""


def wilson(success: int, number: int) -> float:
    """The lower end of the 95 % interval of a share, `success` of `number` (Wilson, 1927); 0 without evidence."""
    if not number:
        return 0.0
    z = 1.96
    share = success / number
    middle = share + z * z / (2 * number)
    spread = z * math.sqrt(share * (1 - share) / number + z * z / (4 * number * number))
    return max(0.0, (middle - spread) / (1 + z * z / number))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What labelled questions say of words.

    Attributes:
        support: questions that hold the word.
        success: questions that hold the word and carry the intent.
        share: of all questions, those that carry the intent.
    """

    support: Counter[str]
    success: Counter[tuple[str, Intent]]
    share: dict[Intent, float]

    def proves(self, word: str, intent: Intent, *, min_support: int, min_confidence: float) -> bool:
        """Whether the word is a rule for the intent."""
        number, agreeing = self.support[word], self.success[word, intent]
        return (
            number >= min_support
            and agreeing / number >= min_confidence
            and wilson(agreeing, number) >= MIN_BOUND
            and agreeing / number >= MIN_LIFT * self.share[intent]
        )

    def against(self, word: str, intent: Intent) -> str:
        """Why the word is none, in words."""
        number, agreeing = self.support[word], self.success[word, intent]
        return f"{agreeing} of {number} labelled questions agree; precision is at least {wilson(agreeing, number):.2f}"


def gather(rows: Sequence[Row], words: Iterable[str], *, min_support: int = MIN_SUPPORT) -> Evidence:
    """Count the words of `rows`, each once per question: jieba's, `words`, and new ones that jieba splits."""
    known = list(words)
    finder = KeywordRules(RuleSet(revision=0, rules=[]), known)
    texts = [row.question for row in rows]
    fresh = new_words(texts, finder.split, min_support=max(min_support, MIN_SUPPORT))
    finder = KeywordRules(RuleSet(revision=0, rules=[]), [*known, *fresh])
    support: Counter[str] = Counter()
    success: Counter[tuple[str, Intent]] = Counter()
    carried: Counter[Intent] = Counter(intent for row in rows for intent in row.intents)
    for row in rows:
        for word in finder.read(row.question).keywords:
            support[word] += 1
            success.update((word, intent) for intent in row.intents)
    return Evidence(support, success, {intent: number / len(rows) for intent, number in carried.items()})


def mine(
    rows: Sequence[Row],
    *,
    min_support: int = MIN_SUPPORT,
    min_confidence: float = MIN_CONFIDENCE,
    limit: int = LIMIT,
    words: Iterable[str] = (),
) -> list[Rule]:
    """Rules that `rows` prove, the surest first.

    Args:
        rows: labelled questions, each counted once.
        min_support: questions that must hold the word.
        min_confidence: share of them, 0..1, that must carry the intent.
        limit: at most this many rules.
        words: words that jieba must not split, besides its own.
    """
    return proven(gather(rows, words, min_support=min_support), min_support, min_confidence)[:limit]


def proven(evidence: Evidence, min_support: int, min_confidence: float) -> list[Rule]:
    """The rules that `evidence` proves, the surest first."""
    rules = [
        _rule(word, intent, evidence.support[word], agreeing)
        for (word, intent), agreeing in evidence.success.items()
        if evidence.proves(word, intent, min_support=min_support, min_confidence=min_confidence)
    ]
    rules.sort(key=lambda rule: (-wilson(rule.success, rule.support), -rule.support, rule.keyword, rule.intent))
    return rules


def _rule(word: str, intent: Intent, support: int, success: int) -> Rule:
    """A mined rule. Its boost follows the agreement, smoothed by one doubt, so that three of three is not certainty.

    A word of everyday talk must not lift ``non_fortune`` over an intent: there the boost is half.
    """
    smoothed = (success + 1) / (support + 2)
    boost = MAX_BOOST * smoothed * (0.5 if intent == NON_FORTUNE else 1.0)
    return Rule(keyword=word, intent=intent, confidence_boost=round(boost, 4), support=support, success=success)


def merge(existing: Sequence[Rule], mined: Sequence[Rule]) -> list[Rule]:
    """All rules: `existing` ones, brought up to date by `mined` ones, and new ones; sorted by keyword.

    What a person wrote or switched off stays as it is. What was retired comes back where it is mined again.
    """
    rules = {(rule.keyword, rule.intent): rule for rule in existing}
    for rule in mined:
        known = rules.get((rule.keyword, rule.intent))
        if known is None or (known.source == "auto" and (known.enabled or known.retired_reason)):
            rules[rule.keyword, rule.intent] = rule
    return [rules[key] for key in sorted(rules)]


def retire(rules: Sequence[Rule], evidence: Evidence) -> list[Rule]:
    """`rules` without the trust in those that do not hold, each with its reason.

    A rule does not hold where the labelled questions that have its word put its precision, at the lower end, below
    `MIN_BOUND`, or where people, live, disagreed that much with what it said. A mined rule is switched off; one that a person
    wrote is only flagged.
    """
    checked = []
    for rule in rules:
        reason = ""
        number, agreeing = evidence.support[rule.keyword], evidence.success[rule.keyword, rule.intent]
        if number >= MIN_SUPPORT and wilson(agreeing, number) < MIN_BOUND:
            reason = evidence.against(rule.keyword, rule.intent)
        elif rule.judged >= MIN_JUDGED and wilson(rule.agreed, rule.judged) < MIN_BOUND:
            reason = f"people agreed with {rule.agreed} of {rule.judged} answers that it spoke for"
        if rule.source == "auto" and reason:
            checked.append(rule.model_copy(update={"enabled": False, "retired_reason": reason}))
        elif rule.source != "auto":
            checked.append(rule.model_copy(update={"retired_reason": reason}))
        else:
            checked.append(rule)
    return checked


def read_rules(path: Path) -> list[Rule]:
    """Rules as the database has them, from JSON lines; live successes and failures count as evidence.

    Raises:
        ConfigError: the file cannot be read.
        RequestError: a line is not a rule; the message has its number.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; give a file of JSON lines") from error
    return [_parsed(line, f"{path.name} line {number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _parsed(line: bytes, where: str) -> Rule:
    try:
        row = _Row.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or None
        raise RequestError("invalid", f"{where}: {field or 'line'}: {first['msg']}", field) from error
    return row.rule()


class _Row(Rule):
    """A row of intent_keyword_rules."""

    success_count: int = 0
    failure_count: int = 0

    def rule(self) -> Rule:
        live = {"agreed": self.success_count, "judged": self.success_count + self.failure_count}
        evidence = {} if self.support else {"support": live["judged"], "success": live["agreed"]}
        return Rule.model_validate(self.model_dump(include=set(Rule.model_fields)) | live | evidence)


def rules_json(rules: Sequence[Rule], revision: int) -> str:
    """The content of rules.json."""
    return RuleSet(revision=revision, rules=[rule for rule in rules if rule.enabled]).model_dump_json(indent=1) + "\n"


def dictionary(rules: Sequence[Rule]) -> str:
    """The content of dictionary.txt: the rules' words, one a line, sorted."""
    return "".join(f"{word}\n" for word in sorted({rule.keyword for rule in rules if rule.enabled}))
