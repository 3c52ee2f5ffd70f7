"""Keyword rules mined from labelled questions: jieba words that speak for an intent, by support and agreement with people.

A word is counted once per question. It becomes a rule for an intent if enough questions hold it, and a large enough share of
them carries that intent. Words come from `inference.rules`, so that a mined word is one that the replicas find again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from inference.rules import KeywordRules, Rule, RuleSet
from schema.errors import ConfigError, RequestError
from schema.taxonomy import NON_FORTUNE, Intent
from training.corpus import Row

MAX_BOOST: Final = 0.3
MIN_SUPPORT: Final = 3
MIN_CONFIDENCE: Final = 0.8
LIMIT: Final = 1000


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
    finder = KeywordRules(RuleSet(revision=0, rules=[]), list(words))
    support: Counter[str] = Counter()
    success: Counter[tuple[str, Intent]] = Counter()
    for row in rows:
        for word in dict.fromkeys(finder.keywords(row.question)):
            support[word] += 1
            success.update((word, intent) for intent in row.intents)
    rules = [
        _rule(word, intent, support[word], agreeing)
        for (word, intent), agreeing in success.items()
        if support[word] >= min_support and agreeing / support[word] >= min_confidence
    ]
    rules.sort(key=lambda rule: (-rule.precision, -rule.support, rule.keyword, rule.intent))
    return rules[:limit]


def _rule(word: str, intent: Intent, support: int, success: int) -> Rule:
    """A mined rule. Its boost follows the agreement, smoothed by one doubt, so that three of three is not certainty.

    A word of everyday talk must not lift ``non_fortune`` over an intent: there the boost is half.
    """
    smoothed = (success + 1) / (support + 2)
    boost = MAX_BOOST * smoothed * (0.5 if intent == NON_FORTUNE else 1.0)
    return Rule(keyword=word, intent=intent, confidence_boost=round(boost, 4), support=support, success=success)


def merge(existing: Sequence[Rule], mined: Sequence[Rule]) -> list[Rule]:
    """The rules that serve: `existing` ones, brought up to date by `mined` ones, and new ones; sorted by keyword.

    What a person wrote or switched off stays as it is.
    """
    rules = {(rule.keyword, rule.intent): rule for rule in existing}
    for rule in mined:
        known = rules.get((rule.keyword, rule.intent))
        if known is None or (known.enabled and known.source == "auto"):
            rules[rule.keyword, rule.intent] = rule
    return [rules[key] for key in sorted(rules) if rules[key].enabled]


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
        evidence = {"support": self.support, "success": self.success}
        if not self.support:
            evidence = {"support": self.success_count + self.failure_count, "success": self.success_count}
        return Rule.model_validate(self.model_dump(include=set(Rule.model_fields)) | evidence)


def rules_json(rules: Sequence[Rule], revision: int) -> str:
    """The content of rules.json."""
    return RuleSet(revision=revision, rules=list(rules)).model_dump_json(indent=1) + "\n"


def dictionary(rules: Sequence[Rule]) -> str:
    """The content of dictionary.txt: the rules' words, one a line, sorted."""
    return "".join(f"{word}\n" for word in sorted({rule.keyword for rule in rules}))
