"""The check at the end of every scenario: what the topics, the database and the worker say, against what was sent."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from sqlalchemy import Connection, Engine, func, select

from schema.envelope import Headers, decode
from schema.events import QuestionAsked, QuestionLabeled
from schema.settings import Settings
from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_label_history as history
from schema.tables import intent_user_questions as questions
from schema.tables import outbox
from schema.topics import LABEL_APPLIED, QUESTION_ASKED, QUESTION_LABELED, Topic
from tests.faults.traffic import Expected, Pair

Origin = tuple[str, int, int]
"""Topic, partition and offset."""
LIVE_LIMIT: Final = 10_000
SILENT_SECONDS: Final = 20.0


class Entry(NamedTuple):
    """A record as it stands in a topic."""

    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: Headers


def entry(message: Message) -> Entry:
    """`message`, with the types that the client leaves open."""
    assert message.error() is None, message.error()
    origin = (str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
    key, value = message.key(), message.value()
    assert not isinstance(key, str)
    assert not isinstance(value, str)
    headers: Any = message.headers() or []
    return Entry(origin, key, value, headers)


def read_log(kafka: str, topic: str, partitions: int) -> Iterator[Entry]:
    """Every record that `topic` holds now, in order per partition, read in passing: topics of the chaos run are large."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "tests-faults", "enable.auto.commit": False})
    parts = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)]
    ends = {part.partition: consumer.get_watermark_offsets(part, timeout=15)[1] for part in parts}
    left = {number for number, end in ends.items() if end}
    consumer.assign([part for part in parts if part.partition in left])
    try:
        heard = time.monotonic()
        while left:
            messages = consumer.consume(1000, timeout=0.2)  # returns before its time only with all 1,000
            heard = time.monotonic() if messages else heard
            assert time.monotonic() - heard < SILENT_SECONDS, f"{topic} cannot be read to its end"
            for message in messages:
                record = entry(message)
                yield record
                _, partition, offset = record.origin
                if offset + 1 == ends[partition]:
                    left.discard(partition)
    finally:
        consumer.close()


@dataclass(frozen=True, slots=True)
class Label:
    """A label or undo as it stands in its topic for the first time: repeats change nothing, also those after a relabel."""

    event_id: bytes
    question: int
    intents: list[str]
    by: str
    takes_back: str | None
    origin: Origin


def standing(log: Iterable[Label]) -> dict[int, list[str]]:
    """The label of each question that has one once all of `log` was applied."""
    left: defaultdict[int, list[Label]] = defaultdict(list)
    for label in log:
        labels = left[label.question]
        mine = [one for one in labels if one.by == label.by]
        if label.takes_back is None:
            labels.append(label)
        elif label.takes_back == "all":
            labels.clear()
        elif mine:
            labels.remove(mine[-1])
    return {question: labels[-1].intents for question, labels in left.items() if labels}


def live_view(url: str) -> dict[Pair, int]:
    """The worker's live counts."""
    with urllib.request.urlopen(f"{url}/v1/keyword-counts?limit={LIVE_LIMIT}", timeout=10) as answer:
        found = {(c["keyword"], c["intent"]): c["total"] for c in json.load(answer)["counts"]}
    assert len(found) < LIVE_LIMIT, "there are more pairs than the live view shows: use fewer words"
    return found


def counted(connection: Connection) -> dict[Pair, int]:
    """The table of counts."""
    return {(k, i): n for k, i, n in connection.execute(select(counts.c.keyword, counts.c.intent, counts.c.total))}


class Check:
    """Compares, and collects every difference in words.

    Args:
        settings: of the system; `kafka` and `topic_prefix` are used.
        engine: the database itself.
        expected: what the questions that were sent must come to.
        poison_labels: keys of the label records that can never be applied.
    """

    def __init__(self, settings: Settings, engine: Engine, expected: Expected, poison_labels: set[bytes]) -> None:
        self.differences: list[str] = []
        self.figures: dict[str, int] = {}
        self._settings = settings
        self._engine = engine
        self._expected = expected
        self._poison_labels = poison_labels

    def run(self, urls: Iterable[str]) -> list[str]:
        """All differences, by the live views of the workers at `urls` too; empty where everything is exact."""
        poison = self._question_log()
        self._dead_letters(QUESTION_ASKED, poison)
        labels = self._label_log()
        with self._engine.connect() as connection:
            self._questions(connection)
            self._labels(connection, labels)
            for url in urls:
                self._same(f"live view of {url}", live_view(url), counted(connection))
        return self.differences

    def run_acknowledged(self, committed: Mapping[tuple[str, int], int]) -> list[str]:
        """Differences between what is acknowledged, at `committed` by topic and partition, and what is stored.

        What is acknowledged is never read again, so it must be in the database, whatever came after. A replay would hide it.
        """
        asked: set[bytes] = set()
        labelled: set[bytes] = set()
        for topic, ids in ((QUESTION_ASKED, asked), (QUESTION_LABELED, labelled)):
            for record in self._log(topic):
                name, partition, offset = record.origin
                bad = record.key in self._expected.poison or record.key in self._poison_labels
                if offset < committed.get((name, partition), 0) and not bad:
                    ids.add(decode(topic.event, record.value, record.headers).key_bytes)
        with self._engine.connect() as connection:
            for what, table, ids in (("questions", questions, asked), ("labels", history, labelled)):
                stored = set(connection.execute(select(table.c.event_id)).scalars())
                self._same(f"acknowledged {what} that are not stored", ids - stored, set())
        return self.differences

    def _same(self, what: str, found: object, wanted: object) -> None:
        if found == wanted:
            return
        if isinstance(found, dict) and isinstance(wanted, dict):
            wrong = [k for k in found.keys() | wanted.keys() if found.get(k, 0) != wanted.get(k, 0)]
            sample = ", ".join(f"{k}: {found.get(k, 0)} not {wanted.get(k, 0)}" for k in sorted(wrong, key=str)[:3])
            if wrong:
                self.differences.append(f"{what}: {len(wrong)} of {len(wanted)} differ ({sample})")
        elif isinstance(found, set) and isinstance(wanted, set):
            extra, missing = found - wanted, wanted - found
            shown = [sorted(map(str, part))[:3] for part in (missing, extra)]
            self.differences.append(f"{what}: {len(missing)} missing {shown[0]}, {len(extra)} too many {shown[1]}")
        else:
            self.differences.append(f"{what}: {found}, not {wanted}")

    def _question_log(self) -> dict[Origin, str]:
        """Where the poison stands, and its kind; checks besides that the topic holds what the test says it sent."""
        ids, poison, origins = set(), set(), {}
        for record in self._log(QUESTION_ASKED):
            if record.key in self._expected.poison:
                poison.add(record.key)
                origins[record.origin] = self._expected.poison[record.key]
            else:
                ids.add(decode(QuestionAsked, record.value, record.headers).key_bytes)
        self._same("events in the topic", ids, self._expected.ids)
        self._same("poison in the topic", poison, set(self._expected.poison))
        return origins

    def _label_log(self) -> dict[bytes, Label]:
        """Every label by its event id, in the order of the topic's partitions: so in the order per question."""
        found: dict[bytes, Label] = {}
        origins = {}
        for record in self._log(QUESTION_LABELED):
            if record.key in self._poison_labels and record.key:
                origins[record.origin] = record.key.decode()
                continue
            event = decode(QuestionLabeled, record.value, record.headers)
            said = event.data
            intents = list(said.correct_intent)
            label = Label(event.key_bytes, said.question_id, intents, said.labeler_id, said.takes_back, record.origin)
            found.setdefault(label.event_id, label)
        self._dead_letters(QUESTION_LABELED, origins)
        self.figures["labels"] = len(found)
        return found

    def _dead_letters(self, topic: Topic, wanted: dict[Origin, str]) -> None:
        """A redelivered batch may write its letters again: letters are told apart by their origin."""
        found: Counter[Origin] = Counter()
        for letter in read_log(self._settings.kafka, topic.dead_letter_name(self._settings.topic_prefix), 1):
            said = dict(letter.headers)
            where = [said[f"__connect.errors.{name}"].decode() for name in ("topic", "partition", "offset")]
            found[where[0], int(where[1]), int(where[2])] += 1
        named = {(*origin, wanted.get(origin, "a good record")) for origin in found}
        self._same(f"dead letters of {topic.stem}", named, {(*origin, kind) for origin, kind in wanted.items()})
        self.figures[f"dead letters of {topic.stem}"] = len(found)
        self.figures[f"dead letters of {topic.stem} written again"] = found.total() - len(found)

    def _questions(self, connection: Connection) -> None:
        expected = self._expected
        ids: Counter[bytes] = Counter()
        pairs: Counter[Pair] = Counter()
        usage: Counter[Pair] = Counter()
        right: Counter[Pair] = Counter()
        wrong: Counter[Pair] = Counter()
        consented = 0
        q = questions.c
        wanted = select(q.event_id, q.keywords, q.intents, q.matched_rules, q.is_labeled, q.correct_intent, q.consent_training)
        for row in connection.execution_options(yield_per=5000).execute(wanted):
            ids[row.event_id] += 1
            consented += row.consent_training
            pairs.update((word, intent) for word in set(row.keywords or []) for intent in row.intents or [])
            spoke = [(rule["keyword"], rule["intent"]) for rule in row.matched_rules or []]
            usage.update(spoke)
            if row.is_labeled:
                for pair in spoke:
                    (right if pair[1] in row.correct_intent else wrong)[pair] += 1
        self._same("event ids in the database", set(ids), expected.ids)
        self._same("rows that stand twice", {i for i, n in ids.items() if n > 1}, set())
        self._same("questions with consent", consented, expected.consented)
        self._same("keyword counts by the rows", dict(pairs), dict(expected.pairs))
        self._same("intent_keyword_counts", counted(connection), dict(pairs))
        self._same("rule usage by the rows", dict(usage), dict(expected.usage))
        r = rules.c
        found = {
            (row.keyword, row.intent): (row.usage_count, row.success_count, row.failure_count)
            for row in connection.execute(select(r.keyword, r.intent, r.usage_count, r.success_count, r.failure_count))
        }
        recount = {pair: (usage[pair], right[pair], wrong[pair]) for pair in found}
        self._same("rule usage, success and failure", found, recount)
        self.figures["questions"] = len(ids)
        self.figures["duplicates sent"] = expected.duplicates

    def _labels(self, connection: Connection, log: dict[bytes, Label]) -> None:
        h = history.c
        rows = connection.execute(select(h.event_id, h.question_id, h.applied_at).order_by(h.id)).all()
        self._same("labels applied", {row.event_id for row in rows}, set(log))
        self._label_order([(log[row.event_id], row.applied_at) for row in rows if row.event_id in log], log.values())
        labelled = select(questions.c.id, questions.c.correct_intent).where(questions.c.is_labeled)
        found = {row.id: row.correct_intent for row in connection.execute(labelled)}
        self._same("current labels", found, standing(log.values()))
        self.figures["labels taken back"] = sum(label.takes_back is not None for label in log.values())
        told = select(func.count()).select_from(outbox).where(outbox.c.topic == LABEL_APPLIED.stem)
        self._same("label.applied in the outbox", connection.execute(told).scalar_one(), len(log))

    def _label_order(self, applied: list[tuple[Label, datetime]], log: Iterable[Label]) -> None:
        """A question's labels are applied in the order in which they stand in their partition."""
        wanted: defaultdict[int, list[Label]] = defaultdict(list)
        for label in log:
            wanted[label.question].append(label)
        found: defaultdict[int, list[tuple[Label, datetime]]] = defaultdict(list)
        for label, moment in applied:
            found[label.question].append((label, moment))
        wrong = {q: story for q, story in found.items() if [label for label, _ in story] != wanted[q]}
        for question, story in list(wrong.items())[:3]:
            told = ", ".join(f"{label.origin[1]}:{label.origin[2]} at {moment:%H:%M:%S.%f}" for label, moment in story)
            self.differences.append(f"labels of question {question} were not applied in their order: {told}")
        self._same("questions whose labels were applied in another order", len(wrong), 0)

    def _log(self, topic: Topic) -> Iterator[Entry]:
        return read_log(self._settings.kafka, topic.name(self._settings.topic_prefix), topic.partitions)
