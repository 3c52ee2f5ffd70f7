"""What the browser tests put into a system before a browser sees it."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from consumers.registry import register_version
from inference.artefact import manifest_sha256, publish, read_manifest, seal
from intentloop import BUILTIN
from local.traffic import demo_questions
from schema.database import in_transaction
from schema.events import Classification, Consent, MatchedRule, QuestionAsked, TimeIntent
from schema.producer import EventProducer
from schema.settings import Settings
from schema.taxonomy import Intent
from schema.topics import QUESTION_ASKED

HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>财运'
METHODS = ("local_model", "keyword_fallback", "llm_fallback")


def ask(settings: Settings, texts: list[str]) -> None:
    """Put questions on Kafka as the fortune API does; the streams worker stores them."""
    by_text = {one.question: one for one in demo_questions()}
    with EventProducer(settings, source="fortune-api") as producer:
        for place, text in enumerate(texts):
            intents: list[Intent] = by_text[text].intents if text in by_text else ["nayin"]
            said = Classification(
                intents=intents,
                confidence=0.35 + 0.01 * (place % 60) if text in by_text else 0.01,  # then it is among the first that are shown
                time_intent=TimeIntent(type="this_year", target_years=[2026], is_explicit=False),
                keywords=[text[:2]],
                matched_rules=[MatchedRule(keyword=text[:2], intent=intents[0])] if place % 3 else [],
                method=METHODS[place % 3],
                response_time_ms=4 + place % 7,
                is_fortune_related=True,
                model_version="v0",
                rules_revision=0,
            )
            event = QuestionAsked(question=text, user_id=f"user {place}", consent=Consent(training=True), classification=said)
            producer.send(QUESTION_ASKED, event, key=f"user {place}")


def seed(settings: Settings, number: int) -> list[str]:
    """Ask `number` different questions of the demo; returns their texts."""
    texts = list(dict.fromkeys(one.question for one in demo_questions()))[:number]
    ask(settings, texts)
    return texts


def add_candidate(settings: Settings, engine: Engine, folder: Path, version: str, *, passed: bool = True) -> None:
    """v0 under another name, registered and ready to be activated."""
    shutil.copytree(BUILTIN, folder)
    fields = read_manifest(folder).model_dump(exclude={"files"}) | {"version": version, "parent": "v0"}
    manifest = seal(folder, fields)
    url = publish(folder, settings.models)
    told = {"gate_passed": passed, "metrics": {}, "batch_id": None}
    register = partial(register_version, manifest=manifest, url=url, sha256=manifest_sha256(folder), **told)
    in_transaction(engine, lambda connection: register(connection))
