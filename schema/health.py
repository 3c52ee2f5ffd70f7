"""What every process answers about itself: /livez, /readyz, /metrics.

Paths as Kubernetes' API server has them: liveness asks nothing outside the process, readiness runs the given checks,
``?verbose`` lists them. Metrics are in Prometheus' text format.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from schema.errors import ConfigError, IntentLoopError

Check = Callable[[], Awaitable[None]]
"""Returns where all is well, raises an `IntentLoopError` that says what is not."""


def add_health_routes(app: web.Application, checks: Mapping[str, Check], registry: CollectorRegistry = REGISTRY) -> None:
    """Add the three paths to `app`; `checks` are run, all of them, at each call of /readyz."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        results = await asyncio.gather(*(_outcome(check) for check in checks.values()))
        lines = [f"[{'-' if fault else '+'}]{name} {fault or 'ok'}" for name, fault in zip(checks, results, strict=True)]
        ready = not any(results)
        body = "\n".join(lines) if "verbose" in request.query or not ready else "ok"
        return web.Response(text=body + "\n", status=200 if ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)


async def _outcome(check: Check) -> str:
    try:
        async with asyncio.timeout(5):
            await check()
    except TimeoutError:
        return "no answer within 5 s"
    except IntentLoopError as error:
        return str(error)
    return ""


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Listen on `host`:`port`; call ``cleanup()`` on what is returned to stop.

    Raises:
        ConfigError: the port is in use, or the address is not ours.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        why = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {host}:{port} ({why}): free it, or set another port or INTENTLOOP_HOST") from None
    return runner
