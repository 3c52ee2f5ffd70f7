"""The whole loop through its doors alone: HTTP and Kafka."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from sqlalchemy import Engine

from consumers.registry import register_builtin
from intentloop import BUILTIN
from local.traffic import demo_questions
from schema.envelope import decode
from schema.events import (
    Classification,
    Consent,
    LabelApplied,
    ModelActivated,
    QuestionAsked,
    QuestionLabeled,
    ReplicaStatus,
    TrainingFinished,
    TrainingRequested,
)
from schema.privacy import mask
from schema.publisher import QuestionPublisher
from schema.settings import Settings
from schema.text import text_hash
from schema.topics import (
    LABEL_APPLIED,
    MODEL_ACTIVATED,
    QUESTION_LABELED,
    REPLICA_STATUS,
    TRAINING_FINISHED,
    TRAINING_REQUESTED,
)
from schema.tracing import trace_id
from tests.running import read_all, running, wait_until

ASKED = 80


def call(url: str, body: Any = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"} if data else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            said: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.code} {error.read().decode()}") from None
    return said


def test_from_a_question_on_kafka_to_a_replica_that_answers_with_what_was_learned(
    settings: Settings, engine: Engine, kafka: str
) -> None:
    """Asked, stored, counted, queued, labelled, threshold, trained, activated; then a replica answers with the new version."""
    settings = settings.model_copy(update={"train_threshold": ASKED, "intent_floor": 1})
    register_builtin(settings, engine, BUILTIN)
    asked = {text_hash(mask(one.question)): one for one in demo_questions()}
    chosen = list(asked.values())[:ASKED]
    with running(settings, "api", "streams", "trainer", "replica") as processes:
        api, replica = f"{processes['api'].url}/api/v1/model-tuning", processes["replica"].url

        answers = call(f"{replica}/v1/classify/batch", {"questions": [{"question": one.question} for one in chosen]})["answers"]
        with QuestionPublisher(settings, source="fortune-api") as publisher:
            for number, (one, said) in enumerate(zip(chosen, answers, strict=True)):
                event = QuestionAsked(
                    question=one.question,
                    user_id=f"user-{number}",
                    consent=Consent(training=True),
                    classification=Classification.model_validate(said),
                )
                publisher.publish(event, traceparent=f"00-{number + 1:032x}-{number + 1:016x}-01")

        def data() -> dict[str, Any]:
            return dict(call(f"{api}/stats")["data_quality"])

        wait_until(lambda: data()["total"] == ASKED, "all questions are stored")
        counts = call(f"{api}/keywords/counts?limit=1000")["counts"]
        said_pairs = {(word, intent) for said in answers for word in said["keywords"] for intent in said["intents"]}
        assert {(row["keyword"], row["intent"]) for row in counts} == said_pairs

        queue = call(f"{api}/questions/unlabeled?limit={ASKED}")["questions"]
        confidences = [one["confidence"] for one in queue]
        assert len(queue) == ASKED
        assert confidences == sorted(confidences), "the least certain stand first"
        for one in queue:
            body = {"correct_intent": asked[text_hash(one["question"])].intents, "labeler_id": "tester"}
            call(f"{api}/questions/{one['id']}/label", body)
        wait_until(lambda: data()["labeled"] == ASKED, "all labels are applied")

        wait_until(lambda: call(f"{api}/batches")["batches"], "the threshold makes a batch")
        batch_id = call(f"{api}/batches")["batches"][0]["batch_id"]

        def batch() -> dict[str, Any]:
            return dict(call(f"{api}/batches/{batch_id}")["batch"])

        wait_until(lambda: batch()["training_status"] not in {"pending", "training"}, "the training ends", 240)
        ended = batch()
        assert ended["training_status"] == "completed", ended["error_message"]
        assert (ended["trigger"], ended["labeled_count"], ended["model_version"]) == ("threshold", ASKED, "v1")
        metrics = ended["metrics"]
        assert metrics["candidate"]["rows"] == metrics["serving"]["rows"] == metrics["held_out_rows"] > 0

        wait_until(
            lambda: call(f"{api}/rollout")["done"] and call(f"{api}/rollout")["wanted_version"] == "v1", "v1 is rolled out"
        )
        said = call(f"{replica}/v1/classify", {"question": chosen[0].question})
        assert said["model_version"] == "v1"
        active = [row["version"] for row in call(f"{api}/models")["models"] if row["is_active"]]
        assert active == ["v1"]
        call(f"{api}/models/rollback", {})
        wait_until(lambda: call(f"{replica}/v1/classify", {"question": "财运"})["model_version"] == "v0", "v0 serves again")

    def on(topic: Any, event: Any) -> list[Any]:
        records = read_all(kafka, topic.name(settings.topic_prefix), topic.partitions)
        return [decode(event, record.value()).data for record in records]

    assert len(on(QUESTION_LABELED, QuestionLabeled)) == len(on(LABEL_APPLIED, LabelApplied)) == ASKED
    assert [e.batch_id for e in on(TRAINING_REQUESTED, TrainingRequested)] == [batch_id]
    assert [e.outcome for e in on(TRAINING_FINISHED, TrainingFinished)] == ["completed"]
    asked_traces = {f"{number + 1:032x}" for number in range(ASKED)}
    activations = read_all(kafka, MODEL_ACTIVATED.name(settings.topic_prefix))
    [of_v1] = [e for r in activations if (e := decode(ModelActivated, r.value())).data.version == "v1"]
    assert trace_id(of_v1.traceparent) in asked_traces, "the activation continues the trace of a question that led to it"
    assert [e.version for e in on(MODEL_ACTIVATED, ModelActivated)] == ["v0", "v1", "v0"]
    assert {e.version for e in on(REPLICA_STATUS, ReplicaStatus)} >= {"v0", "v1"}
