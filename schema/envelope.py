"""The CloudEvents 1.0 envelope around our events: writing and reading a record's value.

Format: CloudEvents 1.0 JSON format and Kafka protocol binding. Structured mode is written; structured and binary are read.
An event's ``id`` may be any string; records are told apart by 16 bytes: the id itself if it is a UUID, else a
UUIDv5 of source and id, so that any producer gets idempotence.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Final, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schema.errors import EventError
from schema.events import Event, Moment
from schema.ids import uuid7

TYPE_PREFIX: Final = "com.intentloop."
CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"
MAX_VALUE_BYTES: Final = 256 * 1024
_ID_NAMESPACE: Final = uuid.UUID("6f1d2a54-3c6e-5d0b-9f43-0b6c5f7a9e21")
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
Headers = list[tuple[str, bytes]]
E = TypeVar("E", bound=Event)


class Envelope(BaseModel, Generic[E]):
    """A CloudEvents 1.0 envelope around one of our events. Unknown extension attributes are allowed and ignored."""

    model_config = ConfigDict(frozen=True)

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1, max_length=256)
    source: str = Field(min_length=1, max_length=256)
    type: str
    time: Moment = Field(default_factory=lambda: datetime.now(UTC))
    datacontenttype: str = "application/json"
    traceparent: str | None = Field(default=None, max_length=64)
    data: E

    @model_validator(mode="after")
    def _type_fits(self) -> Self:
        expected = TYPE_PREFIX + type(self.data).type
        if self.type != expected:
            raise ValueError(f"type is not {expected}")
        return self

    @property
    def key_bytes(self) -> bytes:
        """16 bytes that identify this event for ever: see the module's docstring."""
        if _UUID.fullmatch(self.id):
            return bytes.fromhex(self.id.replace("-", ""))
        try:
            return uuid.UUID(self.id).bytes  # braces, a urn, no hyphens
        except ValueError:
            return uuid.uuid5(_ID_NAMESPACE, f"{self.source}\n{self.id}").bytes


def wrap(
    event: E, *, source: str, event_id: str | None = None, at: datetime | None = None, traceparent: str | None = None
) -> Envelope[E]:
    """Put `event` into an envelope; a missing id becomes a UUIDv7 and a missing time becomes now."""
    model: type[Envelope[E]] = Envelope[type(event)]  # type: ignore[misc, assignment]
    return model(
        id=event_id or str(uuid7()),
        source=source,
        type=TYPE_PREFIX + event.type,
        time=at or datetime.now(UTC),
        traceparent=traceparent,
        data=event,
    )


def encode(envelope: Envelope[E]) -> bytes:
    """`envelope` as structured-mode JSON (UTF-8, Chinese written literally)."""
    return envelope.model_dump_json(exclude_none=True).encode()


@cache
def _envelope(event: type[E]) -> type[Envelope[E]]:
    return Envelope[event]  # type: ignore[valid-type]


def decode(event: type[E], value: bytes | None, headers: Iterable[tuple[str, bytes]] = ()) -> Envelope[E]:
    """Read a record's value as `event`, in structured or binary mode.

    Raises:
        EventError: with reason ``tombstone``, ``too_large``, ``not_utf8``, ``not_json``, ``unknown_type``,
            ``unknown_version`` or ``invalid``. The message holds field names and rules, never the value's text.
    """
    if value is None:
        raise EventError("tombstone", "the value is null")
    if len(value) > MAX_VALUE_BYTES:
        raise EventError("too_large", f"the value has {len(value)} bytes, at most {MAX_VALUE_BYTES} are read")
    envelope = _envelope(event)
    attributes: dict[str, str] = {}
    try:
        attributes = _binary_attributes(headers)
        if attributes:
            return envelope.model_validate(attributes | {"data": event.model_validate_json(value)})
        return envelope.model_validate_json(value)
    except UnicodeDecodeError:
        raise EventError("not_utf8", "a header is not UTF-8") from None
    except ValidationError as error:
        raise _refusal(event, error, value, attributes.get("type")) from None


def _binary_attributes(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """The envelope that binary mode keeps in ``ce_*`` headers; empty in structured mode (Kafka binding § 3)."""
    named = {name.lower(): value or b"" for name, value in headers}  # the client gives None for a null header
    if named.get("content-type", b"").lower().startswith(b"application/cloudevents"):
        return {}
    return {name[3:]: value.decode() for name, value in named.items() if name.startswith("ce_")}


class _Claim(BaseModel):
    """The one field of a refused value that says what it wanted to be."""

    type: str


def _refusal(event: type[Event], error: ValidationError, value: bytes, claimed: str | None) -> EventError:
    """Say why `value` was refused, by field and rule, without quoting it."""
    if claimed is None:
        try:
            value.decode()
            claimed = _Claim.model_validate_json(value).type
        except UnicodeDecodeError:
            return EventError("not_utf8", "the value is not UTF-8")
        except ValidationError as claim_error:
            if claim_error.errors()[0]["type"] == "json_invalid":
                return EventError("not_json", "the value is not JSON")
    expected = TYPE_PREFIX + event.type
    if claimed is not None and claimed != expected:
        same_event = claimed.rsplit(".", 1)[0] == expected.rsplit(".", 1)[0]
        return EventError("unknown_version" if same_event else "unknown_type", f"the type is not {expected}")
    return EventError("invalid", "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in error.errors(include_url=False)[:5]))


def _place(steps: tuple[int | str, ...]) -> str:
    """The field at fault; a name that is not like ours may be a user's text that stands in the wrong place."""
    return ".".join(n if re.fullmatch("[0-9a-z_]{1,32}", n) else "?" for n in map(str, steps)) or "value"
