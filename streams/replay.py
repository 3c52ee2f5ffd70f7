"""Send dead letters back to the topic they came from, repaired or as they are; and remove them for good.

A replay that is repeated, by hand or after a crash, counts nothing twice: the event's id decides in the database, as for every
redelivery. A record without a readable id gets one that follows from its dead letter's id, so it too is the same each time.
The record is sent before the mark that says so: a crash in between sends it again, never not at all. (A transaction around
both would change nothing for readers of uncommitted records, and its control records would be gaps in the offsets that Faust
counts.)
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import jq
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schema.dead_letters import REPLAYED_FROM
from schema.envelope import CONTENT_TYPE, Headers, decode
from schema.errors import ConfigError, EventError, RequestError, TransientError
from schema.privacy import mask
from schema.producer import EventProducer, client_config
from schema.redaction import USER
from schema.settings import Settings
from streams.dead_letter_log import Box, Progress
from streams.dead_letters import HANDLED, HANDLED_AT, Letter

Change = Callable[[Letter], bytes | None]
"""What a dead letter's value is to be instead."""

CHUNK: Final = 500
DELIVERY_SECONDS: Final = 30.0
_IDS: Final = uuid.UUID("0d9b7c52-5a0f-5c0e-8d0a-6c1f2f8d7a43")


class Unfit(RequestError):
    """A record that its consumer would refuse again."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A dead letter as it goes back: the original key, headers and partition, and a value that its consumer reads."""

    letter: Letter
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge did.

    Attributes:
        letters: dead letters that are gone from every list.
        deleted: records that are gone from the dead-letter topics, marks and replayed ones among them.
        waiting: purged dead letters whose records stay until the topic's retention ends, since others stand before them.
    """

    letters: int
    deleted: int
    waiting: int


def as_it_is(letter: Letter) -> bytes | None:
    """The value unchanged."""
    return letter.value


def jq_fix(expression: str) -> Change:
    """A change by a jq expression. Its input is the JSON value; where it is not JSON, the text as one string; null for none.

    One result is needed. A string is taken as the new text itself, for no event is a JSON string.

    Raises:
        ConfigError: it is no jq expression. The change itself raises `Unfit`.
    """
    try:
        program = jq.compile(expression)
    except ValueError as error:
        raise ConfigError(f"--fix is no jq expression: {_one_line(error)}") from None

    def change(letter: Letter) -> bytes | None:
        try:
            results = program.input_text(as_json(letter.value)).all()
        except ValueError as error:
            raise Unfit("fix_failed", f"{letter.id}: --fix failed: {_one_line(error)}") from None
        if len(results) != 1:
            raise Unfit("fix_failed", f"{letter.id}: --fix gave {len(results)} results, one is needed")
        [result] = results
        if result is None or isinstance(result, str):
            return None if result is None else result.encode(errors="replace")
        return _dump(result)

    return change


def as_json(value: bytes | None) -> str:
    """`value` if it is JSON; else its text as one JSON string, bytes that are no UTF-8 replaced."""
    if value is None:
        return "null"
    text = value.decode(errors="replace")
    try:
        json.loads(text, parse_constant=_no_constant)
        return value.decode()
    except (ValueError, RecursionError):
        return json.dumps(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _one_line(error: ValueError) -> str:
    said = " ".join(str(error).removeprefix("jq: error: ").split())
    return mask(said.removesuffix(" jq: 1 compile error"))[:300]


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def prepare(letter: Letter, change: Change = as_it_is) -> Replay:
    """The record that goes back for `letter`.

    Raises:
        Unfit: its consumer would refuse it again. One line that says why.
    """
    value = change(letter)
    headers = [*letter.original_headers, (REPLAYED_FROM, str(letter.id).encode())]
    value, headers = _with_id(letter, value, headers)
    try:
        envelope = decode(letter.topic.event, value, headers)
    except EventError as error:
        hint = "repair it with --fix or --edit" if change is as_it_is else "repair it otherwise"
        raise Unfit(error.reason, f"{letter.id} would be refused again ({error.reason}: {mask(str(error))}): {hint}") from None
    if getattr(envelope.data, "user_id", None) == USER:  # whose consent may have been withdrawn since: nobody can know
        hint = "--fix 'del(.data.user_id, .data.session_id)' sends it as nobody's"
        raise Unfit("user_unknown", f"{letter.id}: its user was masked without a pseudonym key: {hint}")
    key = None if letter.key == USER.encode() else letter.key
    return Replay(letter, key, value, headers)


def _with_id(letter: Letter, value: bytes | None, headers: Headers) -> tuple[bytes | None, Headers]:
    """Value and headers with an event id; a whole envelope instead of the data of a binary-mode record replaces its headers."""
    made = str(uuid.uuid5(_IDS, str(letter.id)))
    attributes = {name.lower() for name, _ in headers}
    try:
        said: Any = json.loads(value or b"")
    except (ValueError, RecursionError):
        return value, headers
    if not isinstance(said, dict):
        return value, headers
    binary = any(name.startswith("ce_") for name in attributes)
    if binary and "specversion" not in said:
        return value, headers if "ce_id" in attributes else [*headers, ("ce_id", made.encode())]
    if binary:
        kept = [pair for pair in headers if not pair[0].lower().startswith("ce_") and pair[0].lower() != "content-type"]
        headers = [*kept, ("content-type", CONTENT_TYPE.encode())]
    return (value if said.get("id") else _dump({"id": made} | {k: v for k, v in said.items() if k != "id"})), headers


def send(settings: Settings, replays: Sequence[Replay], *, progress: Progress = lambda done, total: None) -> None:
    """Send `replays` to where they came from, and mark each that the broker has.

    They go to their original partition, so that they stand among the events of their user, whatever hashed the key; with the
    time of now, so that a topic's retention does not remove them before they are read.

    Raises:
        TransientError: the broker did not take all of them. Those it took are marked.
    """
    with EventProducer(settings, source="intentloop/dlq") as producer:
        for at in range(0, len(replays), CHUNK):
            chunk = replays[at : at + CHUNK]
            sent = [_send(producer, settings, replay) for replay in chunk]
            faults = [_fault(future) for future in sent]
            taken = [replay.letter for replay, fault in zip(chunk, faults, strict=True) if fault is None]
            _mark(producer, taken, "replayed")
            if first := next((fault for fault in faults if fault is not None), None):
                raise TransientError(f"{at + len(taken)} of {len(replays)} were replayed; replay the rest again: {first}")
            progress(at + len(chunk), len(replays))


def _send(producer: EventProducer, settings: Settings, replay: Replay) -> Future[None]:
    origin = replay.letter.id
    known = origin.partition < replay.letter.topic.partitions and origin != replay.letter.place
    return producer.send_raw(
        replay.letter.topic.name(settings.topic_prefix),
        replay.value,
        key=replay.key,
        headers=replay.headers,
        partition=origin.partition if known else -1,
    )


def _fault(sent: Future[None]) -> TransientError | TimeoutError | None:
    try:
        sent.result(DELIVERY_SECONDS)
    except (TransientError, TimeoutError) as error:
        return error if str(error) else TimeoutError(f"the broker did not answer within {DELIVERY_SECONDS:.0f} s")
    return None


def _mark(producer: EventProducer, letters: Sequence[Letter], how: str) -> None:
    """Remember that `letters` are handled."""
    headers = [(HANDLED, how.encode()), (HANDLED_AT, datetime.now(UTC).isoformat(timespec="milliseconds").encode())]
    sent = [
        producer.send_raw(
            letter.place.topic, None, key=str(letter.id).encode(), headers=headers, partition=letter.place.partition
        )
        for letter in letters
    ]
    if any(_fault(one) for one in sent):
        raise TransientError("the broker did not take all marks: some of what is done already is still listed")


def purge(settings: Settings, box: Box, chosen: Sequence[Letter], *, everywhere: bool = False) -> Purged:
    """Remove `chosen`, dead letters of `box` that wait; `everywhere`: empty partitions of what was handled, too.

    The broker deletes from the beginning of a partition only: everything up to the first dead letter that still waits for
    somebody, marks and what was handled before among it. Behind that, a purged one is marked, and its text goes with the
    topic's retention. What died since `box` was read stays.

    Raises:
        TransientError: the broker does not answer.
    """
    gone = {letter.id for letter in chosen}
    ends = {where: high for where, (_, high) in box.spans.items()}
    for letter in box.letters:
        if letter.handled is None and letter.id not in gone:
            ends[letter.place.where] = min(letter.place.offset, ends[letter.place.where])
    behind = [letter for letter in chosen if letter.place.offset > ends[letter.place.where]]
    if behind:
        with EventProducer(settings, source="intentloop/dlq") as producer:
            _mark(producer, behind, "purged")
    touched = {letter.place.where for letter in chosen}
    cuts = {where: end for where, end in ends.items() if end > box.spans[where][0] and (everywhere or where in touched)}
    _delete(settings, cuts)
    return Purged(len(chosen), sum(end - box.spans[where][0] for where, end in cuts.items()), len(behind))


def _delete(settings: Settings, ends: dict[tuple[str, int], int]) -> None:
    """Have the broker delete what stands before `ends`."""
    if not ends:
        return
    admin = AdminClient(client_config(settings))
    places = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
    try:
        for future in admin.delete_records(places, request_timeout=DELIVERY_SECONDS).values():
            future.result()
    except KafkaException as error:
        raise TransientError(f"the broker did not delete the records: {error.args[0].str()}") from None
