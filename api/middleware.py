"""Around every request: errors in the promised shape, one line of log per 5xx, and the duration metric."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import Histogram

from api.wire import RETRY_AFTER_SECONDS, Unavailable, refusal
from schema.errors import EventError, RequestError, TransientError

log = logging.getLogger(__name__)
DURATION = Histogram("intentloop_http_request_duration_seconds", "one request to the api", ["method", "route", "status"])
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CODES: Final = {404: "unknown_route", 405: "wrong_method", 413: "body_too_large"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Time the request. The route is the pattern, never the path: paths have no end, and labels must have one."""
    began = time.perf_counter()
    response = await handler(request)
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    method = request.method if request.method in METHODS else "other"
    DURATION.labels(method, route, str(response.status)).observe(time.perf_counter() - began)
    return response


@web.middleware
async def same_site(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what another site's page makes a browser send: several routes change things without needing a body."""
    if request.method not in {"GET", "HEAD"} and request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        return refusal(403, "cross_site", "a page of another site may not change anything here")
    return await handler(request)


@web.middleware
async def shaped(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what is raised into an answer."""
    try:
        return await handler(request)
    except RequestError as error:
        return refusal(error.status, error.code, str(error), error.field)
    except EventError as error:
        return refusal(422, error.reason, str(error))
    except TransientError as error:
        code = error.code if isinstance(error, Unavailable) else "unavailable"
        log.error("503 %s %s: %s", request.method, request.path, error)
        return refusal(503, code, str(error), headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    except web.HTTPException as error:
        if error.status < 400:
            raise
        kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        message = f"{error.reason}: {request.method} {request.path}"
        return refusal(error.status, CODES.get(error.status, "refused"), message, headers=kept)
    except Exception:  # the outermost boundary: a mistake of ours is told in the same shape, its trace is in the log
        log.exception("500 %s %s", request.method, request.path)
        return refusal(500, "internal", "this is our mistake; the log of the api says more")
