"""The streams worker: composition root of the Faust side.

Three of Faust's defaults lose data; this is why the agents look as they do.

* An exception in an agent acks its events. Hence ``noack``, an explicit ack after the commit, and `CrashingSupervisor`:
  a failed batch ends the process, and what was not acked is delivered again.
* A value that cannot be decoded is acked and kills the agent. Hence topics of bytes, parsed inside the agent.
* On shutdown Faust waits for unacked events for ever. Hence no ``stream_wait_empty``: a batch in flight is delivered
  again, and its event ids make that harmless.

The pure-Python stream iterator acks events that it skips, so the compiled one is required.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import faust
import faust.streams
import uvloop
from aiohttp import web
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from sqlalchemy import Engine

from schema.database import RowRefused, in_transaction, open_engine, ping
from schema.dead_letters import DeadLetter
from schema.envelope import decode
from schema.errors import ConfigError, TransientError
from schema.events import ConsentWithdrawn, QuestionLabeled
from schema.health import add_health_routes, serve
from schema.logs import set_up_logs
from schema.privacy import pseudonym
from schema.producer import EventProducer
from schema.settings import Settings
from schema.topics import CONSENT_WITHDRAWN, KEYWORD_COUNTS, QUESTION_ASKED, QUESTION_LABELED, SHADOW_SCORED, Topic
from schema.tracing import log_fields
from streams.agents import Sink, add_sink, end_by_force_later, patiently, with_patience
from streams.keyword_counts import LiveCounts, counted, read_totals
from streams.labels import apply_labels, withdraw_consent
from streams.records import Outcome, Record, Refused, split
from streams.shadows import store_shadow_batch
from streams.snapshots import add_snapshot_timer
from streams.start import WriterProcess
from streams.transport import Transport
from streams.watch import Watch
from streams.writer_link import WriterLink

log = logging.getLogger(__name__)
WRITER_DEPTH = 3
"""Batches that the writer has at once: one in the database, one being decoded."""
DRAIN_SECONDS = 5.0
LABEL_BATCH = 200
REBALANCE_SECONDS = 20.0
"""For so long the group waits for a worker that is alive and does not join again; by default a minute, in which all stand."""
FETCH_BYTES = 256 * 1024
"""Of each partition at once; several times as much when it is unpacked. A larger record comes alone."""
AT_ONCE = 25
"""Totals that are sent before the event loop goes on with what has arrived: some milliseconds' worth."""


def make_app(settings: Settings) -> faust.App:
    """A Faust app with the safe settings; see the module's docstring.

    Raises:
        ConfigError: Faust was installed without its compiled iterator.
    """
    if faust.streams._CStreamIterator is None:
        raise ConfigError("faust-streaming lacks its compiled stream iterator: install its wheel, not its source")
    settings.var.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        settings.group("streams"),
        broker=[f"kafka://{server}" for server in settings.kafka.split(",")],
        agent_supervisor="mode.CrashingSupervisor",
        web_enabled=False,
        stream_wait_empty=False,
        stream_buffer_maxsize=2 * settings.stream_batch,
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        broker_commit_interval=0.5,
        broker_session_timeout=settings.session_timeout,
        broker_heartbeat_interval=settings.session_timeout / 5,
        broker_rebalance_timeout=REBALANCE_SECONDS,
        broker_max_poll_records=settings.stream_batch,
        consumer_max_fetch_size=FETCH_BYTES,
        store="memory://",
        datadir=str(settings.var / "faust"),  # Faust makes it, and keeps nothing in it
    )
    app.transport = Transport(app.conf.broker_consumer, app)
    return app


def apply_label_batch(engine: Engine, records: Sequence[Record]) -> Outcome:
    """Apply the labels in one transaction, in order; where the database refuses one of them, each in a transaction of its own."""
    good, refused = split(records, lambda record: decode(QuestionLabeled, record.value, record.headers))
    try:
        applied, bad = in_transaction(engine, partial(apply_labels, labels=good)) if good else (0, [])
    except RowRefused:
        applied, bad = 0, []
        for label in good:
            try:
                done, also_bad = in_transaction(engine, partial(apply_labels, labels=[label]))
            except RowRefused as error:
                done, also_bad = 0, [Refused(label[0], error)]
            applied, bad = applied + done, bad + also_bad
    refused += bad
    return Outcome(
        {"applied": applied, "duplicate": len(records) - applied - len(refused), "dead_lettered": len(refused)}, refused
    )


def withdraw_batch(engine: Engine, settings: Settings, records: Sequence[Record]) -> Outcome:
    """Remember each withdrawal."""
    key = settings.pseudonym_key.get_secret_value()
    good, refused = split(records, lambda record: decode(ConsentWithdrawn, record.value, record.headers).data)
    for _, said in good:
        work = partial(withdraw_consent, user_id=pseudonym(said.user_id, key), withdrawn_at=said.withdrawn_at)
        in_transaction(engine, work)
    return Outcome({"withdrawn": len(good), "dead_lettered": len(refused)}, refused)


def _wait_for(sent: Sequence[Future[None]]) -> None:
    for future in sent:
        future.result()


class Worker:
    """All that one streams process holds."""

    def __init__(self, settings: Settings, writer: WriterProcess) -> None:
        self.settings = settings
        self.app = make_app(settings)
        self.engine = open_engine(settings.database_url.get_secret_value())
        self.producer = EventProducer(settings, source="intentloop/streams")
        self.live = LiveCounts(settings)
        self.threads = ThreadPoolExecutor(4, thread_name_prefix="database")
        self.writer = WriterLink(writer)
        patient = partial(with_patience, threads=self.threads, patience=settings.database_patience)
        sinks = (
            Sink("persist-questions", QUESTION_ASKED, self.writer.store, settings.stream_batch, depth=WRITER_DEPTH),
            Sink("apply-labels", QUESTION_LABELED, patient(partial(apply_label_batch, self.engine)), LABEL_BATCH),
            Sink("store-shadow-answers", SHADOW_SCORED, patient(partial(store_shadow_batch, self.engine)), LABEL_BATCH),
            Sink("withdraw-consent", CONSENT_WITHDRAWN, patient(partial(withdraw_batch, self.engine, settings)), LABEL_BATCH),
        )
        self.lanes = {sink.name: add_sink(self.app, sink, prefix=settings.topic_prefix, publish=self.publish) for sink in sinks}
        add_snapshot_timer(self.app, self.engine, self.threads)
        self.watch = Watch(settings, self.app, self.lanes, partial(ping, self.engine))

    async def publish(self, topic: Topic, outcomes: Sequence[Outcome]) -> None:
        """Send dead letters and the present totals of all pairs, and wait until the broker has them."""
        loop = asyncio.get_running_loop()
        pairs = {pair for outcome in outcomes for pair in outcome.pairs}
        read = partial(in_transaction, self.engine, partial(read_totals, pairs=pairs))
        totals, _ = await patiently(read, self.threads, self.settings.database_patience)
        refused = [one for outcome in outcomes for one in outcome.refused]
        letters = await loop.run_in_executor(self.threads, self._letters, refused) if refused else []
        name = topic.dead_letter_name(self.settings.topic_prefix)
        sent = [
            self.producer.send_raw(name, letter.value, key=letter.key, headers=letter.headers, timestamp_ms=letter.timestamp_ms)
            for letter in letters
        ]
        for number, (key, event) in enumerate(counted(totals), start=1):
            sent.append(self.producer.send(KEYWORD_COUNTS, event, key=key))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        if sent:  # in a thread: a future of the event loop for each of a thousand records costs more than sending them
            await loop.run_in_executor(self.threads, _wait_for, sent)

    def _letters(self, refused: Sequence[Refused]) -> list[DeadLetter]:
        """The dead letters of `refused`. In a thread: looking for identifiers in a large value takes its time."""
        key = self.settings.pseudonym_key.get_secret_value()
        for one in refused:
            record = one.record
            log.warning("dead-lettered %s: %s", record.origin, one.error, extra=log_fields(record.value, record.headers))
        return [one.letter(key) for one in refused]

    def routes(self) -> web.Application:
        """Health, metrics and the live view."""
        routes = web.Application()

        async def database() -> None:
            await asyncio.get_running_loop().run_in_executor(None, ping, self.engine)

        async def assigned() -> None:
            try:
                if not self.app.rebalancing and self.app.consumer.assignment():
                    return
            except ConsumerNotStarted:
                pass
            raise TransientError("no partitions are assigned yet")

        async def live_view() -> None:
            self.live.follower.check()

        async def keyword_counts(request: web.Request) -> web.Response:
            try:
                limit = min(10_000, max(1, int(request.query.get("limit", "100"))))
            except ValueError:
                raise web.HTTPBadRequest(text="limit is not a number") from None
            counts = self.live.top(intent=request.query.get("intent"), limit=limit)
            return web.json_response({"success": True, "counts": counts})

        async def progress() -> None:
            self.watch.check()

        checks = {"database": database, "partitions": assigned, "progress": progress, "live-view": live_view}
        add_health_routes(routes, checks)
        routes.router.add_get("/v1/keyword-counts", keyword_counts)
        return routes

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, or until something fails for good.

        Raises:
            BaseException: what crashed the app.
        """
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        site = await serve(self.routes(), self.settings.host, self.settings.streams_port)
        self.live.follower.start()
        try:
            await self.app.start()
            watching = asyncio.create_task(self.watch.run())
            await self.app.wait_for_stopped(stop)
            asked = self.app.crash_reason is None
            if asked:
                end_by_force_later(0)  # what is not acked by then comes again
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_SECONDS):
                        await asyncio.gather(*(lane.close() for lane in self.lanes.values()))
            watching.cancel()
        finally:
            self.writer.close()
            await self.app.stop()
            self.live.follower.stop()
            self.threads.shutdown(wait=False, cancel_futures=True)
            self.producer.close()
            self.engine.dispose()
            await site.cleanup()
        if asked:
            return  # whatever broke off while it ended
        if isinstance(self.app.crash_reason, asyncio.CancelledError):
            raise TransientError("Faust gave up: the log above says why")
        if self.app.crash_reason is not None:
            raise self.app.crash_reason


def run_worker(settings: Settings, writer: WriterProcess) -> None:
    """Run a worker with its `writer`: see `streams.start.run`."""
    set_up_logs("streams", settings.log_level)
    uvloop.install()
    asyncio.run(_run(settings, writer))


async def _run(settings: Settings, writer: WriterProcess) -> None:
    try:
        await Worker(settings, writer).run()
    except KafkaError as error:
        raise TransientError(f"Kafka at {settings.kafka}: {error}") from error
