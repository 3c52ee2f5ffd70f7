"""Realistic question events: the demo's questions, varied, with the answer that a replica gives them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from inference.pipeline import Pipeline
from intentloop import BUILTIN
from local.traffic import demo_questions
from schema.envelope import CONTENT_TYPE, encode, wrap
from schema.events import Consent, QuestionAsked
from schema.ids import uuid7
from schema.privacy import pseudonym
from schema.producer import EventProducer

USERS = 5_000
OPENINGS = ("", "请问", "老师，", "想问一下，", "大师您好，", "麻烦看看，", "我88年的，", "女，91年属羊，", "帮我算算，", "急，")
ENDINGS = ("", "？", "吗", "，谢谢", "🙏", "，电话13800138000", "，在线等", "呢", "。", "，好担心")


def questions(number: int, *, seed: int = 5) -> Iterator[QuestionAsked]:
    """`number` questions from `USERS` users; one in a hundred holds a phone number."""
    unit = Pipeline.load(BUILTIN, threads=1, confidence=0.6)
    chance = random.Random(seed)
    texts = [one.question.rstrip("？?。") for one in demo_questions()]
    answers = {text: unit.answer_local(text) for text in texts}
    users = [pseudonym(f"user-{n}", "a key for benches only") for n in range(USERS)]
    began = datetime.now(UTC) - timedelta(hours=1)
    for n, text in zip(range(number), itertools.cycle(texts), strict=False):
        ending = chance.choice(ENDINGS) if n % 100 else ENDINGS[5]
        yield QuestionAsked(
            question=f"{chance.choice(OPENINGS)}{text}{ending if n % 10 or n % 100 == 0 else ''}",
            user_id=chance.choice(users),
            session_id=users[n % USERS],
            asked_at=began + timedelta(milliseconds=n),
            consent=Consent(training=True, version="1"),
            classification=answers[text],
        )


def produce(producer: EventProducer, topic: str, asked: Iterator[QuestionAsked]) -> int:
    """Send `asked` to `topic`, keyed by user; returns how many once the broker has them all."""
    number = 0
    headers = [("content-type", CONTENT_TYPE.encode())]
    for number, question in enumerate(asked, start=1):
        value = encode(wrap(question, source="bench", event_id=str(uuid7())))
        producer.send_raw(topic, value, key=(question.user_id or "").encode(), headers=headers)
        if number % 20_000 == 0:
            producer.flush()
    assert producer.flush(60) == 0
    return number
