"""Keyword rules: words that speak for an intent, mined from labels or written by people.

They are part of the artefact: ``rules.json`` holds them, ``dictionary.txt`` the words that jieba must not split.
"""

from __future__ import annotations

import logging
import re
from collections import ChainMap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, Final

import jieba
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schema.errors import ArtefactError
from schema.events import Keyword, MatchedRule
from schema.taxonomy import MAX_INTENTS, NON_FORTUNE, Intent
from schema.text import simplify

MAX_KEYWORDS: Final = 10
_WORD: Final = re.compile(r"[\u4e00-\u9fff]{2,8}")
_STOPS: Final = """
什么 怎么 怎样 怎么样 如何 哪里 哪个 哪些 为什么 多少 可以 能不能 会不会 是不是 有没有 要不要
好不好 是否 请问 请教 帮忙 帮我 看看 看下 一下 一个 一些 这个 那个 这样 那样 这种
这些 那些 我们 你们 他们 她们 自己 别人 大家 老师 大师 先生 您好 你好 谢谢 麻烦
想问 问问 知道 觉得 感觉 应该 还是 或者 但是 因为 所以 如果 而且 就是 不是 没有
不会 不能 可能 已经 现在 时候 今年 明年 后年 去年 今天 明天 最近 以后 之后 以前
年份 出生 一直 总是 真的 比较 特别 非常 这么 那么 一点 有点 还有 到底 究竟 适合
需要 方面 情况 问题 分析 详细 关于 对于 里面 出来 起来 下来 是什么 老是
"""
STOP_WORDS: Final = frozenset(_STOPS.split())


class Rule(BaseModel):
    """A keyword that speaks for an intent.

    Attributes:
        confidence_boost: what it adds to the model's probability where both speak, in 0..0.3.
        support: labelled questions the keyword stood in.
        success: those of them that carried the intent.
        agreed: answers that it spoke for, live, and that people gave the intent too.
        judged: answers that it spoke for, live, and that people labelled.
        retired_reason: why it was switched off by itself, or what speaks against one that a person wrote.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    keyword: Keyword
    intent: Intent
    confidence_boost: float = Field(ge=0, le=1)
    support: int = Field(default=0, ge=0)
    success: int = Field(default=0, ge=0)
    agreed: int = Field(default=0, ge=0, exclude=True)
    judged: int = Field(default=0, ge=0, exclude=True)
    source: str = "auto"
    enabled: bool = True
    retired_reason: str = ""

    @property
    def precision(self) -> float:
        """The share of labels that agree, smoothed by one doubt (Laplace); a rule written by a person has 0.8."""
        return (self.success + 1) / (self.support + 2) if self.support else 0.8


class RuleSet(BaseModel):
    """The content of ``rules.json``."""

    model_config = ConfigDict(frozen=True)

    revision: int = Field(ge=0)
    rules: list[Rule]


def read_rule_set(folder: Path) -> RuleSet:
    """The content of ``rules.json`` of the artefact in `folder`.

    Raises:
        ArtefactError: it is missing or holds no rules.
    """
    try:
        return RuleSet.model_validate_json((folder / "rules.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise ArtefactError(f"the rules of {folder} cannot be read: {error}") from error


@cache
def _base() -> Any:
    """jieba's own dictionary, loaded once in a process (about a second)."""
    jieba.setLogLevel(logging.WARNING)  # it tells everyone on stderr that it loads
    tokenizer = jieba.Tokenizer()
    tokenizer.initialize()
    return tokenizer


def _tokenizer(words: Iterable[str]) -> Any:
    """jieba with `words` besides its own: the large dictionary is shared, the new words lie over it."""
    base = _base()
    own: dict[str, int] = {}
    for word in words:
        if not base.FREQ.get(word):
            for end in range(1, len(word)):  # jieba finds a word through its beginnings, which may be words themselves
                own.setdefault(word[:end], base.FREQ.get(word[:end], 0))
            own[word] = 1000
    if not own:
        return base
    tokenizer = jieba.Tokenizer()
    tokenizer.FREQ = ChainMap(own, base.FREQ)
    tokenizer.total = base.total + 1000 * len(own)
    tokenizer.initialized = True
    return tokenizer


@dataclass(frozen=True, slots=True)
class Reading:
    """What is found in one question: its words, each once, and the rules whose keyword is one of them; both in order."""

    words: tuple[str, ...]
    speaking: tuple[Rule, ...]

    @property
    def keywords(self) -> list[str]:
        """The words worth counting: two to eight characters, no stop words, at most ten."""
        return [word for word in self.words if _WORD.fullmatch(word) and word not in STOP_WORDS][:MAX_KEYWORDS]

    @property
    def matched(self) -> list[MatchedRule]:
        """The rules that speak, as an answer tells of them."""
        return [MatchedRule(keyword=rule.keyword, intent=rule.intent) for rule in self.speaking]

    @property
    def boosts(self) -> dict[Intent, float]:
        """What the rules add to the model's probability of an intent: the largest boost of those that speak for it.

        Not their sum: words that stand together in one question were mined from the same questions.
        """
        found: dict[Intent, float] = {}
        for rule in self.speaking:
            found[rule.intent] = max(found.get(rule.intent, 0.0), rule.confidence_boost)
        return found

    @property
    def answer(self) -> tuple[list[Intent], float] | None:
        """What the rules alone would say: intents, best first, and their confidence; None where they are silent.

        Rules for one intent are taken as independent witnesses: 1 - Π(1 - precision).
        """
        doubt: dict[Intent, list[float]] = {}
        for rule in self.speaking:
            doubt.setdefault(rule.intent, []).append(1 - rule.precision)
        if not doubt:
            return None
        scores = {intent: 1 - prod(doubts) for intent, doubts in doubt.items()}
        best = sorted(scores, key=lambda intent: (-scores[intent], intent))
        top = scores[best[0]]
        if best[0] == NON_FORTUNE:
            return [best[0]], top
        close = [intent for intent in best if scores[intent] >= 0.9 * top and intent != NON_FORTUNE]
        return close[:MAX_INTENTS], top


class KeywordRules:
    """The rules of one artefact, with the dictionary that finds their words. Immutable."""

    def __init__(self, rule_set: RuleSet, dictionary: Sequence[str] = ()) -> None:
        self.revision = rule_set.revision
        self._rules: dict[str, list[Rule]] = {}
        for rule in rule_set.rules:
            if rule.enabled:
                self._rules.setdefault(simplify(rule.keyword), []).append(rule)
        self._tokenizer = _tokenizer({*dictionary, *self._rules})

    @classmethod
    def load(cls, folder: Path) -> KeywordRules:
        """The rules of the artefact in `folder`.

        Raises:
            ArtefactError: they are missing or not rules.
        """
        rule_set = read_rule_set(folder)
        try:
            words = (folder / "dictionary.txt").read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtefactError(f"the dictionary of {folder} cannot be read: {error}") from error
        return cls(rule_set, [word.split(" ")[0] for word in words if word.strip()])

    def __len__(self) -> int:
        return sum(map(len, self._rules.values()))

    def read(self, question: str) -> Reading:
        """What is found in `question`."""
        words = dict.fromkeys(self._tokenizer.cut(simplify(question), HMM=False))
        return Reading(tuple(words), tuple(rule for word in words for rule in self._rules.get(word, ())))

    def split(self, text: str) -> list[str]:
        """`text` as the words that it is made of."""
        return list(self._tokenizer.cut(text, HMM=False))
