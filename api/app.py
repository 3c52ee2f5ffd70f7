"""The api process: composition root. It starts whatever is away, and /readyz says what is missing."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from aiohttp import web

from api.middleware import measured, same_site, shaped
from api.openapi import openapi
from api.pages import add_console
from api.routes import ROUTES
from api.state import Api
from api.wire import MAX_BODY_BYTES, PREFIX, Route, answer, read_call, send_frames
from schema.health import add_health_routes, serve
from schema.logs import set_up_logs
from schema.settings import Settings


def make_app(api: Api) -> web.Application:
    """The HTTP side of `api`; whoever made `api` starts and closes it."""
    app = web.Application(middlewares=[measured, shaped, same_site], client_max_size=MAX_BODY_BYTES)
    for route in ROUTES:
        app.router.add_route(route.method, PREFIX + route.path, _handler(api, route))
    app.on_shutdown.append(_end_streams(api))
    checks = {"database": api.check_database, "kafka": api.check_kafka, "replicas": api.check_replicas}
    add_health_routes(app, checks)
    app.router.add_get("/openapi.json", _text(json.dumps(openapi(ROUTES), ensure_ascii=False), "application/json"))
    contract = files("schema").joinpath("asyncapi.yaml").read_text(encoding="utf-8")
    app.router.add_get("/asyncapi.yaml", _text(contract, "application/yaml"))
    add_console(app)
    return app


def _handler(api: Api, route: Route[Any, Any]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        call = await read_call(request, route.body, route.query)
        told = await route.handle(api, call)
        return answer(told, route.status) if isinstance(told, dict) else await send_frames(request, told)

    return handle


def _end_streams(api: Api) -> Callable[[web.Application], Awaitable[None]]:
    async def end(_: web.Application) -> None:
        api.changes.close()
        api.live.close()

    return end


def _text(text: str, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type=content_type)

    return handle


def run(settings: Settings) -> None:
    """Serve the ops API; returns after SIGTERM or SIGINT.

    Raises:
        ConfigError: a setting is missing, or the port is in use.
    """
    set_up_logs("api", settings.log_level)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    api = Api(settings)
    try:
        site = await serve(make_app(api), settings.host, settings.api_port)
        api.start()
        await stop.wait()
        await site.cleanup()  # finishes the requests in flight
    finally:
        await api.close()
