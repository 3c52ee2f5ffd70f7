"""The dead letters as people handle them: find them, look at them, mark what was done with them.

A dead letter's id is the place of its original record, ``TOPIC:PARTITION:OFFSET``. A record that was dead-lettered twice,
because the worker died between the letter and the commit, is one dead letter with two copies.

What was replayed or purged is remembered by a *mark*: a record without a value in the same dead-letter topic, its key the id.
It says that the copies before it are handled; a copy after it is news. The log itself thus decides, for everybody who reads
it: a mark is as durable as what it speaks of, the broker removes it after that (never before: it stands behind it), and it
needs no table, no compacted topic, no committed offset that a broker forgets after seven idle days.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from confluent_kafka import Message

from schema.dead_letters import DIED_AT, ORIGIN, OWN_PREFIX, PREFIX, REASON, REPLAYED_FROM
from schema.envelope import Headers
from schema.errors import ConfigError, NotFound, RequestError
from schema.topics import TOPICS, Topic

HANDLED: Final = OWN_PREFIX + "handled"
"""The header of a mark: ``replayed`` or ``purged``."""
HANDLED_AT: Final = OWN_PREFIX + "handled-at"
BURIED: Final[tuple[Topic, ...]] = tuple(topic for topic in TOPICS if topic.dead_letters)
Partition = tuple[str, int]
"""A topic and one of its partitions."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a record stands: ``TOPIC:PARTITION:OFFSET``."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it.

        Raises:
            RequestError: it is none.
        """
        topic, _, rest = text.partition(":")
        if not topic or not (numbers := re.fullmatch(r"(\d{1,9}):(\d{1,18})", rest)):
            raise RequestError("bad_id", f"{text!r} is no dead letter's id: it looks like question.asked:3:17")
        return cls(topic, int(numbers[1]), int(numbers[2]))

    @property
    def where(self) -> Partition:
        """Its topic and partition."""
        return self.topic, self.partition

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Handled:
    """What was done with a dead letter, and when."""

    how: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        id: the place of the original record.
        place: its own place in the dead-letter topic; of several copies, the first one's.
        topic: the topic of the original record.
        value: None where there was none, and where it was not asked for; `size` is right all the same (-1: there was none).
        timestamp: of the original record.
        died_at: when it was dead-lettered.
    """

    id: Place
    place: Place
    topic: Topic
    key: bytes | None
    value: bytes | None
    size: int
    headers: Headers
    timestamp: datetime
    died_at: datetime
    copies: int = 1
    handled: Handled | None = None

    @property
    def reason(self) -> str:
        """Why it died, in one word."""
        return self.header(REASON) or self.header(PREFIX + "exception.class.name").rpartition(".")[2] or "unknown"

    @property
    def message(self) -> str:
        """Why it died, in words."""
        return self.header(PREFIX + "exception.message")

    @property
    def trace(self) -> str:
        """Where it died in the code."""
        return self.header(PREFIX + "exception.stacktrace")

    @property
    def consumer(self) -> str:
        """Which consumer could not process it."""
        return self.header(PREFIX + "connector.name")

    @property
    def replayed_from(self) -> str:
        """The id of the dead letter whose replay this record was, or nothing."""
        return self.header(REPLAYED_FROM)

    @property
    def original_headers(self) -> Headers:
        """The headers that the record came with."""
        return [pair for pair in self.headers if not pair[0].startswith((PREFIX, OWN_PREFIX))]

    def header(self, name: str) -> str:
        """The last header `name` as text, or nothing."""
        return next((v.decode(errors="backslashreplace") for n, v in reversed(self.headers) if n == name), "")


@dataclass(frozen=True, slots=True)
class Mark:
    """Says that the copies of the dead letter `id` that stand before it are handled."""

    id: Place
    handled: Handled


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters: all that fit every given filter, or those of `ids` (by id, or by place in the dead-letter topic)."""

    ids: frozenset[Place] = frozenset()
    topic: Topic | None = None
    reason: str = ""
    since: datetime | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether `letter` is one of them."""
        return (
            (not self.ids or letter.id in self.ids or letter.place in self.ids)
            and (self.topic is None or letter.topic == self.topic)
            and (not self.reason or letter.reason == self.reason)
            and (self.since is None or letter.died_at >= self.since)
        )

    def check_found(self, letters: Iterable[Letter]) -> None:
        """Complain about ids that none of `letters` has.

        Raises:
            NotFound: naming the first.
        """
        known = {place for letter in letters for place in (letter.id, letter.place)}
        if missing := sorted(self.ids - known):
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise NotFound("no_dead_letter", f"there is no dead letter {missing[0]}{more}: `intentloop dlq list` names them")


def find_topic(name: str, prefix: str) -> Topic:
    """The topic that `name` means: with or without the configured prefix and ``.dlq``.

    Raises:
        RequestError: none that has dead letters.
    """
    bare = name.removesuffix(".dlq")
    for topic in BURIED:
        if bare in (topic.stem, topic.name(prefix)):
            return topic
    known = ", ".join(topic.name(prefix) for topic in BURIED)
    raise RequestError("unknown_topic", f"{name!r} is no topic that has dead letters: those are {known}")


def find_place(text: str, prefix: str) -> Place:
    """The place that `text` means, whether or not its topic carries the configured prefix.

    Raises:
        RequestError: it is no place in a topic that has dead letters, or in one of dead letters.
    """
    place = Place.parse(text)
    topic = find_topic(place.topic, prefix)
    name = topic.dead_letter_name(prefix) if place.topic.endswith(".dlq") else topic.name(prefix)
    return replace(place, topic=name)


def parse_when(text: str, now: datetime) -> datetime:
    """A moment: ``90s``, ``15m``, ``2h``, ``3d`` before `now`, or an ISO 8601 date or time (UTC if it names no zone).

    Raises:
        ConfigError: it is neither.
    """
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    try:
        if ago := re.fullmatch(r"(\d{1,6})([smhd])", text.strip()):
            return now - timedelta(**{units[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise ConfigError(f"--since {text!r} is no moment: say 15m, 2h, 3d, or 2026-11-24T08:30") from None
    return _aware(moment)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_record(message: Message, topic: Topic, prefix: str) -> Letter | Mark:
    """A record of a dead-letter topic; `topic` is where its original was."""
    given = message.headers() or []
    pairs = given.items() if isinstance(given, dict) else given
    headers = [(name, value if isinstance(value, bytes) else b"") for name, value in pairs]
    said = {name: value.decode(errors="backslashreplace") for name, value in headers}
    place = Place(message.topic() or "", message.partition() or 0, message.offset() or 0)
    timestamp = datetime.fromtimestamp(max(0, message.timestamp()[1]) / 1000, UTC)
    origins = (said.get(ORIGIN, ""), ":".join(said.get(PREFIX + part, "") for part in ("topic", "partition", "offset")))
    if HANDLED in said:
        key = message.key() or b""
        return Mark(_place(key.decode(errors="replace")) or place, Handled(said[HANDLED], _moment(said, HANDLED_AT, timestamp)))
    # A record may have come with foreign error headers, which are kept: then its own place is its id.
    found = next((p for p in map(_place, origins) if p is not None and p.topic == topic.name(prefix)), place)
    value = message.value()
    return Letter(
        id=found,
        place=place,
        topic=topic,
        key=message.key(),
        value=value,
        size=-1 if value is None else len(value),
        headers=headers,
        timestamp=timestamp,
        died_at=_moment(said, DIED_AT, timestamp),
    )


def _place(text: str) -> Place | None:
    try:
        return Place.parse(text)
    except RequestError:
        return None


def _moment(said: dict[str, str], name: str, default: datetime) -> datetime:
    try:
        return _aware(datetime.fromisoformat(said[name]))
    except (KeyError, ValueError):
        return default


def gather(records: Iterable[Letter | Mark]) -> list[Letter]:
    """The dead letters in `records`, which come in the order of their topic: copies together, what was handled marked."""
    found: dict[Place, Letter] = {}
    for record in records:
        known = found.get(record.id)
        if isinstance(record, Mark):
            if known is not None:
                found[record.id] = replace(known, handled=record.handled)
        elif known is None or known.handled is not None:  # one that died again after it was handled is news
            found[record.id] = record
        else:
            found[record.id] = replace(known, copies=known.copies + 1)
    return list(found.values())
