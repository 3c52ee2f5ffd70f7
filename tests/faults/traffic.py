"""Realistic ``question.asked`` records in any number, the same for the same seed, and what must come of them.

Among them 1 % duplicates (the same event id again, half of them on another partition) and 0.5 % poison.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from local.traffic import DemoQuestion, demo_questions
from schema.envelope import CONTENT_TYPE, Headers, encode, wrap
from schema.events import Classification, Consent, MatchedRule, QuestionAsked
from schema.taxonomy import INTENTS, NON_FORTUNE, Intent, rule_types
from schema.topics import QUESTION_ASKED
from tests.faults.poison import KINDS, Poison, rotation

DUPLICATES: Final = 0.01
POISON: Final = 0.005
USERS: Final = 500
RARE: Final = 2500
"""Words that stand in one question of eight each: a count that is lost with its batch is not hidden by the next one."""
WORDS: Final[dict[Intent, tuple[str, ...]]] = {
    "career": ("工作", "跳槽", "事业", "升职", "考公"),
    "wealth": ("财运", "投资", "彩票", "偏财"),
    "marriage": ("桃花", "正缘", "复合", "离婚"),
    "health": ("身体", "失眠", "手术"),
    "personality": ("性格", "脾气", "MBTI", "mbti"),  # two words: case tells keywords apart
    "wangshui": ("身弱", "身强", "从格"),
    "yongji": ("用神", "喜火", "忌水"),
    "shishen": ("七杀", "食神", "伤官"),
    "nayin": ("海中金", "天上火"),
    "general": ("大运", "流年", "🔮", "贵人"),
    "non_fortune": ("天气", "快递"),
}
Pair = tuple[str, str]
RULES: Final[tuple[Pair, ...]] = tuple((word, intent) for intent, words in WORDS.items() for word in words)
"""The rows of ``intent_keyword_rules``."""
HEADERS: Final[Headers] = [("content-type", CONTENT_TYPE.encode())]
_BEGAN: Final = datetime(2026, 3, 1, 8, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Record:
    """A record to send; partition -1 lets the key decide."""

    key: bytes
    value: bytes | None
    headers: Headers
    partition: int = -1


@dataclass(slots=True)
class Expected:
    """What must be in the database once everything was taken.

    Attributes:
        ids: the 16 bytes of every event.
        pairs: in how many questions a keyword stood with an intent.
        usage: in how many questions a rule spoke.
        consented: how many questions may be labelled.
        duplicates: how many records repeat an earlier one.
        poison: the kind of each bad record, by its key.
    """

    ids: set[bytes] = field(default_factory=set)
    pairs: Counter[Pair] = field(default_factory=Counter)
    usage: Counter[Pair] = field(default_factory=Counter)
    consented: int = 0
    duplicates: int = 0
    poison: dict[bytes, str] = field(default_factory=dict)


class Traffic:
    """An endless sequence of records; `expected` grows with what was drawn from it.

    Args:
        seed: the same seed gives the same records.
        kinds: of poison.
        poison: its share.
    """

    def __init__(self, seed: int, kinds: dict[str, Callable[[random.Random], Poison]] = KINDS, poison: float = POISON) -> None:
        self.expected = Expected()
        self._chance = random.Random(seed)
        self._demo = demo_questions()
        self._kinds = kinds
        self._share = poison
        self._rotation = rotation(kinds)
        self._recent: deque[Record] = deque(maxlen=5000)
        self._number = 0

    def __iter__(self) -> Iterator[Record]:
        while True:
            drawn = self._chance.random()
            if drawn < self._share:
                yield self._poison()
            elif drawn < self._share + DUPLICATES and self._recent:
                yield self._repeat()
            else:
                record = self._question()
                self._recent.append(record)
                yield record

    def _poison(self) -> Record:
        number = len(self.expected.poison)
        kind = self._rotation[number % len(self._rotation)]
        key = f"poison-{number}".encode()
        self.expected.poison[key] = kind
        value, headers = self._kinds[kind](self._chance)
        return Record(key, value, headers)

    def _repeat(self) -> Record:
        self.expected.duplicates += 1
        record = self._chance.choice(self._recent)
        if self._chance.random() < 0.5:
            return record
        return Record(record.key, record.value, record.headers, self._chance.randrange(QUESTION_ASKED.partitions))

    def _question(self) -> Record:
        chance, number = self._chance, self._number
        self._number += 1
        demo = chance.choice(self._demo)
        said = self._classification(demo, number) if chance.random() < 0.9 else None
        user = f"user-{chance.randrange(USERS)}" if chance.random() < 0.8 else None
        asked = QuestionAsked(
            question=f"{demo.question} {number:x}",
            user_id=user,
            session_id=f"session-{number // 7}" if user else None,
            solar_date=date(1960, 1, 1) + timedelta(days=chance.randrange(16_000)) if chance.random() < 0.5 else None,
            gender=chance.choice(("male", "female", "unknown", None)),
            consent=Consent(training=chance.random() < 0.8, version="2026-01") if chance.random() < 0.85 else None,
            classification=said,
        )
        at = _BEGAN + timedelta(milliseconds=number)
        # one producer in twenty gives ids that are no UUIDs
        identity = f"order-{number}" if number % 20 == 0 else _uuid7(at, chance)
        event = wrap(asked, source="tests/faults", event_id=identity, at=at)
        expected = self.expected
        expected.ids.add(event.key_bytes)
        expected.consented += asked.consent is not None and asked.consent.training
        if said is not None:
            expected.pairs.update((word, intent) for word in said.keywords for intent in said.intents)
            expected.usage.update((rule.keyword, rule.intent) for rule in said.matched_rules)
        return Record((user or identity).encode(), encode(event), HEADERS)

    def _classification(self, demo: DemoQuestion, number: int) -> Classification:
        chance = self._chance
        intents = list(demo.intents) if chance.random() < 0.8 else [chance.choice(INTENTS)]
        found = [pair for pair in RULES if pair[0] in demo.question]
        spoke = list(dict.fromkeys([*found, *chance.sample(RULES, chance.randrange(4))]))
        keywords = [word for word, _ in spoke]
        if number % 8 == 0:
            rare = number // 8 % RARE
            keywords.append(f"生僻词{rare}")
            intents = [INTENTS[rare % len(INTENTS)]]
        return Classification(
            intents=intents,
            confidence=round(chance.random(), 4),
            rule_types=rule_types(intents),
            keywords=list(dict.fromkeys(keywords)),
            matched_rules=[MatchedRule(keyword=word, intent=intent) for word, intent in spoke],
            method=chance.choice(("local_model", "keyword_fallback", "llm_fallback")),
            response_time_ms=round(chance.uniform(0.5, 40), 2),
            is_fortune_related=intents != [NON_FORTUNE],
            is_ambiguous=chance.random() < 0.1,
            reasoning="关键词与模型一致" if chance.random() < 0.5 else "",
            model_version="v0",
            rules_revision=0,
            replica_id="replica-1",
        )


def _uuid7(at: datetime, chance: random.Random) -> str:
    """A UUIDv7 as a producer makes them, but from `chance`."""
    value = int(at.timestamp() * 1000) << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)
    return str(uuid.UUID(int=value))
