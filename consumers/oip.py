"""The Open Inference Protocol (KServe V2, Triton) over HTTP, so that its clients can ask a replica as they ask any server.

Source: kserve/open-inference-protocol, inference_rest.md; Triton's extension_binary_data.md (``binary_tensor_data``), which
its clients use unless told otherwise. The one model is ``intent``. Every tensor has n rows, 1 to 256; inputs may also have
the shape [n, 1].

==========  ========  =========================================================================
input       datatype  a row
==========  ========  =========================================================================
question    BYTES     the text, UTF-8, 1 to 2000 characters
user_id     BYTES     optional: who asks, at most 128 characters; empty: not told
asked_at    BYTES     optional: ISO 8601, UTC where no zone stands; decides what years mean; empty: now
==========  ========  =========================================================================

==========  ========  =========================================================================
output      datatype  a row
==========  ========  =========================================================================
answer      BYTES     the whole `Classification` as JSON, as ``POST /v1/classify`` has it
intent      BYTES     its first intent
confidence  FP64      its confidence, 0 to 1
==========  ========  =========================================================================

``model_version`` is the version that answered the first row. Where others answered too (a candidate answers for a share of
the users), ``parameters.model_versions`` lists all of them, comma-separated, and each row's ``answer`` says its own. So
``/versions/{version}/infer`` checks which version serves; it does not keep a candidate away from its users.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from importlib.metadata import version as installed_version
from io import BytesIO
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schema.errors import NotFound, RequestError, TransientError
from schema.events import MAX_QUESTION_CHARS, Classification, Identifier, Moment

MODEL: Final = "intent"
PLATFORM: Final = "intentloop_onnx"
MAX_ROWS: Final = 256
MAX_BODY_BYTES: Final = 8 << 20
"""Room for the most rows of the longest questions, each character written as \\uXXXX\\uXXXX."""
JSON_LENGTH: Final = "Inference-Header-Content-Length"
INPUTS: Final = ("question", "user_id", "asked_at")
OUTPUTS: Final[dict[str, tuple[str, Callable[[Classification], str | float]]]] = {
    "answer": ("BYTES", lambda answer: answer.model_dump_json()),
    "intent": ("BYTES", lambda answer: answer.intents[0]),
    "confidence": ("FP64", lambda answer: answer.confidence),
}
CHANGES_OUTPUT: Final = ("classification", "shared_memory_region")
"""Parameters of other extensions: whoever sends them could not read what we return."""

Answer = Callable[[str, str | None, datetime | None], Awaitable[Classification]]
Handler = Callable[[web.Request], Awaitable[web.Response]]


class Output(BaseModel):
    """A tensor that the client asks for."""

    model_config = ConfigDict(strict=True)

    name: Annotated[str, Field(max_length=256)]
    parameters: dict[str, Any] = Field(default_factory=dict)


class Input(Output):
    """A tensor that the client sends: with `data`, or with the parameter ``binary_data_size``."""

    datatype: str
    shape: list[int]
    data: list[Any] | None = None


class Inference(BaseModel):
    """The JSON of a request. Unknown fields and parameters are other extensions' and are passed over."""

    model_config = ConfigDict(strict=True)

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[Input]
    outputs: list[Output] = Field(default_factory=list)


class Row(BaseModel):
    """One question."""

    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS)
    user_id: Identifier | None = None
    asked_at: Moment | None = None


def add_oip_routes(routes: web.Application, *, answer: Answer, versions: Callable[[], Sequence[str]]) -> None:
    """Add the protocol's paths, all below ``/v2``, to `routes`.

    Args:
        routes: gets the paths; its own limit on a body's size does not apply to them.
        answer: takes question, user and the time it was asked. Raises TransientError where it cannot answer now (503).
        versions: those that are loaded, the serving one first; none: not ready.
    """
    server = {"name": "intentloop", "version": installed_version("intentloop"), "extensions": ["binary_tensor_data"]}

    async def about_server(_: web.Request) -> web.Response:
        return _json(server)

    async def live(_: web.Request) -> web.Response:
        return _json({"live": True})

    async def ready(_: web.Request) -> web.Response:
        is_ready = bool(versions())  # the REST text calls it "live" here, the gRPC one and KServe "ready"
        return _json({"live": True, "ready": is_ready}, status=200 if is_ready else 503)

    async def about_model(request: web.Request) -> web.Response:
        loaded = _loaded(request, versions())
        outputs = [{"name": name, "datatype": datatype, "shape": [-1]} for name, (datatype, _) in OUTPUTS.items()]
        inputs = [{"name": "question", "datatype": "BYTES", "shape": [-1]}]  # "required by the model": only this one is
        return _json({"name": MODEL, "versions": loaded, "platform": PLATFORM, "inputs": inputs, "outputs": outputs})

    async def model_ready(request: web.Request) -> web.Response:
        is_ready = bool(_loaded(request, versions()))
        return _json({"name": MODEL, "ready": is_ready}, status=200 if is_ready else 503)

    async def infer(request: web.Request) -> web.Response:
        loaded = _loaded(request, versions())
        if (asked := request.match_info.get("version")) is not None and asked != loaded[0]:
            raise NotFound("unknown_version", f'version "{asked}" is loaded, but {loaded[0]} serves: ask that one, or none')
        inference, rows = read_request(await _body(request), request.headers.get(JSON_LENGTH))
        return _answered(inference, await _all(answer(row.question, row.user_id, row.asked_at) for row in rows))

    async def nowhere(request: web.Request) -> web.Response:
        raise NotFound("unknown_path", f"{request.method} {request.path} is no endpoint of this server")

    router = routes.router
    router.add_get("/v2", about_server)
    router.add_get("/v2/", about_server)
    router.add_get("/v2/health/live", live)
    router.add_get("/v2/health/ready", ready)
    for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        router.add_get(model, _or_error(about_model))
        router.add_get(f"{model}/ready", _or_error(model_ready))
        router.add_post(f"{model}/infer", _or_error(infer))
    router.add_route("*", "/v2/{rest:.*}", _or_error(nowhere))


def read_request(body: bytes, json_length: str | None) -> tuple[Inference, list[Row]]:
    """Read the body of an inference request; `json_length` is its header, None where the whole body is JSON.

    Raises:
        RequestError: it does not follow the protocol, or a row is not allowed. The message names tensor and row (the first
            is 0), and does not quote the row.
    """
    text, binary = _split(body, json_length)
    try:
        inference = Inference.model_validate_json(text)
    except ValidationError as error:
        raise RequestError("invalid", _first(error)) from None
    _require_known("input", inference.inputs, INPUTS)
    _require_known("output", inference.outputs, OUTPUTS)
    for output in inference.outputs:
        for parameter in CHANGES_OUTPUT:
            if output.parameters.get(parameter):
                raise RequestError("invalid", f'output "{output.name}": the parameter {parameter} is not supported', output.name)
    columns = {tensor.name: _column(tensor, binary) for tensor in inference.inputs}
    if left := len(binary.read()):
        raise RequestError("invalid", f"{left} bytes follow the binary data that the inputs speak of")
    if "question" not in columns:
        raise RequestError("invalid", 'there is no input "question"', "question")
    rows = len(columns["question"])
    for name, column in columns.items():
        if len(column) != rows:
            raise RequestError("invalid", f'input "{name}" has {len(column)} rows, "question" has {rows}', name)
    return inference, [_row(place, columns) for place in range(rows)]


def _split(body: bytes, json_length: str | None) -> tuple[bytes, BytesIO]:
    """JSON, and the binary data behind it."""
    if json_length is None:
        return body, BytesIO()
    if not re.fullmatch("[0-9]{1,9}", json_length) or int(json_length) > len(body):
        raise RequestError("invalid", f"{JSON_LENGTH} is not a length within the {len(body)} bytes of the body")
    return body[: int(json_length)], BytesIO(body[int(json_length) :])


def _require_known(what: str, tensors: Sequence[Output], known: Iterable[str]) -> None:
    seen = set()
    for tensor in tensors:
        if tensor.name not in known:
            raise RequestError("invalid", f'unknown {what} "{tensor.name}", known are: {", ".join(known)}', tensor.name)
        if tensor.name in seen:
            raise RequestError("invalid", f'{what} "{tensor.name}" stands there twice', tensor.name)
        seen.add(tensor.name)


def _column(tensor: Input, binary: BytesIO) -> list[str]:
    """The rows of `tensor`: from its JSON, or from `binary`, which is read as far as they go."""

    def wrong(why: str) -> RequestError:
        return RequestError("invalid", f'input "{tensor.name}"{why}', tensor.name)

    if tensor.datatype != "BYTES":
        raise wrong(f": the datatype is {tensor.datatype[:16]}, not BYTES")
    match tensor.shape:
        case [rows] | [rows, 1] if 1 <= rows <= MAX_ROWS:
            pass
        case _:
            raise wrong(f": the shape is {tensor.shape[:4]}, not [n] or [n, 1] with n from 1 to {MAX_ROWS}")
    size = tensor.parameters.get("binary_data_size")
    if (size is None) == (tensor.data is None):
        raise wrong(' has to have either "data" or the parameter binary_data_size')
    if tensor.data is not None:
        cells = [cell for row in tensor.data for cell in (row if isinstance(row, list) else [row])]
        if len(cells) != rows:
            raise wrong(f" has {len(cells)} elements, its shape says {rows}")
        for place, cell in enumerate(cells):
            if not isinstance(cell, str):
                raise wrong(f", row {place}: not a string")
        return cells
    if type(size) is not int or size < 0 or len(raw := binary.read(size)) != size:
        raise wrong(": binary_data_size is not the number of bytes that follow")
    texts, at = [], 0
    for place in range(rows):
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "little")
        if start > size or at > size:
            raise wrong(f", row {place}: the binary data ends within it")
        try:
            texts.append(raw[start:at].decode())
        except UnicodeDecodeError:
            raise wrong(f", row {place}: not UTF-8") from None
    if at != size:
        raise wrong(f": {size - at} bytes of binary data follow its last row")
    return texts


def _row(place: int, columns: dict[str, list[str]]) -> Row:
    """Row `place`; an empty cell of an optional column says nothing."""
    try:
        return Row.model_validate({n: column[place] for n, column in columns.items() if column[place] or n == "question"})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        raise RequestError("invalid", f'input "{field}", row {place}: {first["msg"]}', field) from None


def _loaded(request: web.Request, versions: Sequence[str]) -> list[str]:
    """`versions`, each once; that of the path, if it names one, is among them.

    Raises:
        NotFound: the path names another model, or a version that is not loaded.
        TransientError: it names a version, and nothing is loaded yet.
    """
    name, asked = request.match_info["name"], request.match_info.get("version")
    if name != MODEL:
        raise NotFound("unknown_model", f'unknown model "{name}": this server has "{MODEL}"')
    loaded = list(dict.fromkeys(versions))
    if asked is not None and not loaded:
        raise TransientError("no model is loaded yet")
    if asked is not None and asked not in loaded:
        raise NotFound("unknown_version", f'version "{asked}" is not loaded here: {loaded[0]} serves')
    return loaded


async def _body(request: web.Request) -> bytes:
    try:
        return await request.clone(client_max_size=MAX_BODY_BYTES).read()
    except web.RequestPayloadError:
        raise RequestError("invalid", "the body cannot be read: it is cut off, or not compressed as its header says") from None


async def _all(answers: Iterable[Awaitable[Classification]]) -> list[Classification]:
    """All of `answers`; where one fails, those that are not there yet are given up: the client asks for all of them again."""
    tasks = [asyncio.ensure_future(answer) for answer in answers]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _answered(inference: Inference, answers: list[Classification]) -> web.Response:
    said: dict[str, Any] = {"model_name": MODEL, "model_version": answers[0].model_version}
    if inference.id is not None:
        said["id"] = inference.id
    if len(several := dict.fromkeys(answer.model_version for answer in answers)) > 1:
        said["parameters"] = {"model_versions": ",".join(several)}
    said["outputs"] = []
    blobs = []
    binary_by_default = inference.parameters.get("binary_data_output", False)
    for wanted in inference.outputs or [Output(name=name) for name in OUTPUTS]:
        datatype, take = OUTPUTS[wanted.name]
        values = [take(answer) for answer in answers]
        tensor: dict[str, Any] = {"name": wanted.name, "datatype": datatype, "shape": [len(values)]}
        if wanted.parameters.get("binary_data", binary_by_default) is True:
            blobs.append(b"".join(map(_packed, values)))
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            tensor["data"] = values
        said["outputs"].append(tensor)
    if not blobs:
        return _json(said)
    text = json.dumps(said, ensure_ascii=False).encode()
    headers = {JSON_LENGTH: str(len(text))}
    return web.Response(body=b"".join([text, *blobs]), content_type="application/octet-stream", headers=headers)


def _packed(value: str | float) -> bytes:
    """One element of a BYTES or FP64 tensor as the binary extension has it, little-endian."""
    if isinstance(value, str):
        raw = value.encode()
        return struct.pack("<I", len(raw)) + raw
    return struct.pack("<d", value)


def _or_error(handler: Handler) -> Handler:
    """`handler`, with what it raises on purpose told as the protocol has it: a status, and ``{"error": message}``."""

    async def told(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except NotFound as error:
            return _json({"error": str(error)}, status=404)
        except RequestError as error:
            return _json({"error": str(error)}, status=400)
        except TransientError as error:
            return _json({"error": str(error)}, status=503, headers={"Retry-After": "1"})
        except web.HTTPRequestEntityTooLarge:
            return _json({"error": f"the body is larger than {MAX_BODY_BYTES} bytes: send fewer rows"}, status=413)

    return told


def _first(error: ValidationError) -> str:
    """What is wrong first, without the value that is."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first["loc"] else first["msg"]


def _json(said: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    text = json.dumps(said, ensure_ascii=False)
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)
