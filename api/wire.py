"""What crosses HTTP: reading a request into strict models, and writing answers and errors in one shape.

Answers carry ``"success": true``; errors are ``{"success": false, "error": {"code", "message", "field"}}``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar
from urllib.parse import unquote

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from schema.errors import RequestError, TransientError

if TYPE_CHECKING:
    from api.state import Api

PREFIX: Final = "/api/v1/model-tuning"
MAX_BODY_BYTES: Final = 512 * 1024
RETRY_AFTER_SECONDS: Final = 2
SLOWEST_CLIENT_SECONDS: Final = 10.0
KEY_HEADER: Final = "Idempotency-Key"
MAX_KEY_CHARS: Final = 128
LABELER_HEADER: Final = "X-Labeler"
MAX_NAME_CHARS: Final = 64


class Input(BaseModel):
    """Base of bodies and query strings: what is not known is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Nothing(Input):
    """No fields."""


class BadRequest(RequestError):
    """The request cannot be read at all."""

    status = 400


class Unavailable(TransientError):
    """A server that the request needs is away. `code` says which."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


B = TypeVar("B", bound=Input)
Q = TypeVar("Q", bound=Input)


@dataclass(frozen=True, slots=True)
class Call(Generic[B, Q]):
    """A request that was read: its path's variables, body, query, and three headers as sent."""

    path: Mapping[str, str]
    body: B
    query: Q
    traceparent: str | None = None
    idempotency_key: str | None = None
    labeler_id: str | None = None

    def labeler(self) -> str:
        """Who asks.

        Raises:
            RequestError: the request does not say.
        """
        if self.labeler_id is None:
            raise RequestError("missing_field", f"{LABELER_HEADER}: say who asks", LABELER_HEADER)
        return self.labeler_id


@dataclass(frozen=True, slots=True)
class Route(Generic[B, Q]):
    """One line of the route table: the router and ``/openapi.json`` are both made from it.

    Attributes:
        handle: returns the answer's fields; ``success`` is added.
        body: model of the JSON body; an absent body is read as ``{}``.
        status: of a good answer.
        also: what else it answers with.
        events: whether it answers with a stream of events; `handle` then returns their frames.
        takes_labeler: whether it asks for the header ``X-Labeler``.
        takes_key: whether the header ``Idempotency-Key`` makes a repeat harmless. Elsewhere the database sees to that.
    """

    method: Literal["GET", "POST"]
    path: str
    handle: Callable[[Api, Call[B, Q]], Awaitable[dict[str, Any] | AsyncGenerator[bytes]]]
    summary: str
    body: type[B]
    query: type[Q]
    status: int = 200
    also: tuple[int, ...] = ()
    takes_key: bool = False
    takes_labeler: bool = False
    events: bool = False


async def read_call(request: web.Request, body: type[B], query: type[Q]) -> Call[B, Q]:
    """Read `request` strictly.

    Raises:
        BadRequest: the body is no JSON, or is declared to be something else.
        RequestError: a field is at fault; it is named.
    """
    return Call(
        path=request.match_info,
        query=_read_query(request, query),
        body=await _read_body(request, body),
        traceparent=request.headers.get("traceparent"),
        idempotency_key=_read_key(request),
        labeler_id=_read_labeler(request),
    )


def _read_key(request: web.Request) -> str | None:
    key = request.headers.get(KEY_HEADER)
    if key is not None and not 1 <= len(key) <= MAX_KEY_CHARS:
        raise RequestError("invalid", f"{KEY_HEADER} has 1 to {MAX_KEY_CHARS} characters", KEY_HEADER)
    return key


def _read_labeler(request: web.Request) -> str | None:
    """Per cent encoded where it is not ASCII: browsers send nothing else in a header."""
    given = request.headers.get(LABELER_HEADER)
    if given is None:
        return None
    name = unquote(given).strip()
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise RequestError("invalid", f"{LABELER_HEADER} has 1 to {MAX_NAME_CHARS} characters", LABELER_HEADER)
    return name


async def _read_body(request: web.Request, model: type[B]) -> B:
    raw = await request.read() if request.can_read_body else b""
    if raw.strip() and "Content-Type" in request.headers and request.content_type != "application/json":
        raise BadRequest("wrong_content", f"the body must be application/json, not {request.content_type}")
    try:
        return model.model_validate_json(raw.strip() or b"{}", strict=True)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise BadRequest("invalid_json", f"the body is not JSON: {error.errors()[0]['ctx']['error']}") from None
        raise fault_of(error) from None


def _read_query(request: web.Request, model: type[Q]) -> Q:
    given: dict[str, Any] = {}
    for name, value in request.query.items():
        if name in given:
            raise RequestError("invalid", f"{name} is given twice", name)
        given[name] = value
    try:
        return model.model_validate_strings(given, strict=True)
    except ValidationError as error:
        raise fault_of(error) from None


def fault_of(error: ValidationError) -> RequestError:
    """The first fault. The field is a path of names; places in a list are left out of it."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(part for part in first["loc"] if isinstance(part, str)) or None
    code = {"extra_forbidden": "unknown_field", "missing": "missing_field"}.get(first["type"], "invalid")
    message = "there is no such field" if code == "unknown_field" else first["msg"].removeprefix("Value error, ")
    return RequestError(code, f"{field}: {message}" if field else message, field)


def answer(fields: Mapping[str, Any], status: int = 200) -> web.Response:
    """A good answer."""
    return web.json_response({"success": True, **fields}, status=status, dumps=dumps)


async def send_frames(request: web.Request, frames: AsyncGenerator[bytes]) -> web.StreamResponse:
    """Answer with server-sent events until `frames` end, the client goes away, or it takes nothing for a while."""
    async with aclosing(frames):
        first = await anext(frames)  # what cannot be had at all is still answered in the common shape
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        try:
            await response.prepare(request)
            await response.write(first)
            async for frame in frames:
                if request.transport is None or request.transport.is_closing():
                    break
                if frame:
                    async with asyncio.timeout(SLOWEST_CLIENT_SECONDS):
                        await response.write(frame)
        except ConnectionResetError:
            pass  # it is gone
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # an orderly end would wait for it again
        return response


def refusal(
    status: int, code: str, message: str, field: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer that says what is wrong."""
    error = {"code": code, "message": message, "field": field}
    return web.json_response({"success": False, "error": error}, status=status, dumps=dumps, headers=headers)


def dumps(value: Any) -> str:
    """`value` as JSON; moments of the database (UTC without a zone) get their ``Z``."""
    return json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)


def _plain(value: object) -> object:
    match value:
        case Decimal():
            return float(value)
        case datetime():
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
            return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
