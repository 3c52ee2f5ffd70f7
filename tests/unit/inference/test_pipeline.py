"""Model, then rules, then LLM: each is asked only where those before are unsure, and there is always an answer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from inference.artefact import read_manifest
from inference.llm import Llm
from inference.pipeline import Pipeline
from inference.predictor import Predictor
from inference.rules import KeywordRules, Rule, RuleSet
from schema.errors import ArtefactError
from schema.events import Classification
from schema.taxonomy import TAXONOMY, Intent

QUESTION = "明年财运怎么样"
NEVER = 0.9999
"""A confidence that neither the tiny model nor a rule reaches, but one with ten thousand labels."""


def proven(keyword: str, intent: Intent, support: int = 100_000) -> Rule:
    return Rule(keyword=keyword, intent=intent, confidence_boost=0.3, support=support, success=support)


def ruled(*rules: Rule) -> KeywordRules:
    return KeywordRules(RuleSet(revision=4, rules=list(rules)))


@pytest.fixture(scope="module")
def loaded(parent: Path) -> Pipeline:
    return Pipeline.load(parent, threads=1, confidence=0.0, replica_id="r-1")


@pytest.fixture
def unsure(loaded: Pipeline) -> Pipeline:
    return replace(loaded, confidence=NEVER, rules=ruled())


def legal(answer: Classification) -> Classification:
    """The answer, checked against the schema as its readers do."""
    return Classification.model_validate_json(answer.model_dump_json())


def test_a_sure_model_answers_alone(loaded: Pipeline, parent: Path) -> None:
    answer = legal(loaded.answer_local(QUESTION))
    p = loaded.predictor.probabilities([QUESTION])[0]
    assert answer.method == "local_model"
    assert answer.intents == loaded.predictor.decide(p)
    assert answer.confidence == pytest.approx(float(p[loaded.predictor.labels.index(answer.intents[0])]))
    assert answer.rule_types == [TAXONOMY[intent].rule_type for intent in answer.intents]
    assert (answer.model_version, answer.rules_revision, answer.replica_id) == ("v0", 0, "r-1")
    assert answer.keywords == ["财运"]
    assert answer.response_time_ms > 0
    assert answer.model_version == read_manifest(parent).version


def test_rules_answer_where_the_model_is_unsure_and_they_are_sure(unsure: Pipeline) -> None:
    answer = legal(replace(unsure, rules=ruled(proven("财运", "nayin"))).answer_local(QUESTION))
    assert (answer.method, answer.intents, answer.rule_types) == ("keyword_fallback", ["nayin"], ["NAYIN"])
    assert answer.confidence > NEVER
    assert [(found.keyword, found.intent) for found in answer.matched_rules] == [("财运", "nayin")]
    assert "below" in answer.reasoning


def test_unsure_rules_leave_the_model_s_answer(unsure: Pipeline) -> None:
    model = unsure.answer_local(QUESTION)
    assert (model.method, model.confidence < NEVER) == ("local_model", True)
    assert model.reasoning.endswith("rules silent")
    answer = legal(replace(unsure, rules=ruled(proven("财运", "nayin", support=5))).answer_local(QUESTION))
    assert (answer.intents, answer.confidence, answer.method) == (model.intents, model.confidence, "local_model")
    assert "rules alone 0.86" in answer.reasoning


def test_rules_do_not_overrule_a_sure_model(loaded: Pipeline) -> None:
    contrary = replace(loaded, rules=ruled(proven("财运", "nayin")))
    assert contrary.answer_local(QUESTION).intents == loaded.answer_local(QUESTION).intents


def test_rules_that_agree_with_the_model_make_it_surer_and_change_nothing_else(loaded: Pipeline) -> None:
    alone = replace(loaded, rules=ruled()).answer_local(QUESTION)
    boosted = Rule(keyword="财运", intent=alone.intents[0], confidence_boost=0.2)
    other = Rule(keyword="财运", intent="nayin", confidence_boost=0.3)
    weaker = Rule(keyword="明年", intent=alone.intents[0], confidence_boost=0.1)
    answer = legal(replace(loaded, rules=ruled(boosted, other, weaker)).answer_local(QUESTION))
    assert answer.intents == alone.intents, "what the model does not decide for is not added"
    assert answer.confidence == pytest.approx(min(1.0, alone.confidence + 0.2)), "the largest boost, not their sum"
    assert answer.reasoning.startswith(f"model {alone.confidence:.2f}, with the rules {answer.confidence:.2f}")
    sure = replace(loaded, rules=ruled(boosted), confidence=alone.confidence + 0.1).answer_local(QUESTION)
    assert "below" not in sure.reasoning, "neither the rules alone nor an LLM are asked"


def test_an_answer_says_that_it_is_about_no_fortune_or_ambiguous_not_only_unsure(loaded: Pipeline, parent: Path) -> None:
    predictor = Predictor.load(parent, threads=1)
    predictor.temperature = 1000.0
    flat = replace(loaded, predictor=predictor, rules=ruled()).answer_local(QUESTION)
    assert flat.is_ambiguous
    assert "ambiguous: " in flat.reasoning
    none = next(
        a
        for text in ("今天天气怎么样", "帮我写一段代码", "这个手机多少钱")
        if not (a := loaded.answer_local(text)).is_fortune_related
    )
    assert "not about fortune telling" in none.reasoning


def test_rules_may_say_that_a_question_is_none(unsure: Pipeline) -> None:
    answer = legal(replace(unsure, rules=ruled(proven("财运", "non_fortune"))).answer_local(QUESTION))
    assert (answer.intents, answer.is_fortune_related, answer.rule_types) == (["non_fortune"], False, [])


async def test_the_llm_answers_where_model_and_rules_are_unsure(unsure: Pipeline, llm: Llm, server: Any) -> None:
    server.says({"intents": ["shishen", "yongji"], "confidence": 0.7, "reasoning": "问十神"})
    answer = legal(await replace(unsure, llm=llm).answer(QUESTION))
    assert (answer.method, answer.intents, answer.confidence) == ("llm_fallback", ["shishen", "yongji"], 0.7)
    assert (answer.rule_types, answer.reasoning) == (["SHISHEN", "YONGJI"], "问十神")
    assert answer.keywords == ["财运"]


@pytest.mark.parametrize("why", ["model", "rules"])
async def test_the_llm_is_not_asked_where_someone_is_sure(unsure: Pipeline, llm: Llm, server: Any, why: str) -> None:
    sure = replace(unsure, confidence=0.0) if why == "model" else replace(unsure, rules=ruled(proven("财运", "nayin")))
    answer = await replace(sure, llm=llm).answer(QUESTION)
    assert answer.method == ("local_model" if why == "model" else "keyword_fallback")
    assert server.asked == []


async def test_an_llm_that_fails_costs_no_answer(unsure: Pipeline, llm: Llm, server: Any) -> None:
    server.replies("{}", status=500)
    local = unsure.answer_local(QUESTION)
    answer = legal(await replace(unsure, llm=llm).answer(QUESTION))
    assert (answer.intents, answer.method, answer.confidence) == (local.intents, "local_model", local.confidence)
    assert "the LLM did not answer" in answer.reasoning
    server.answers.clear()
    server.says({"intents": ["luck"], "confidence": 1, "reasoning": ""})
    answer = legal(await replace(unsure, llm=llm).answer(QUESTION))
    assert answer.intents == local.intents
    assert "outside the schema" in answer.reasoning


def test_years_are_those_of_the_day_in_shanghai_on_which_it_was_asked(loaded: Pipeline) -> None:
    before, after = (datetime(2025, 12, 31, hour, 30, tzinfo=UTC) for hour in (15, 16))
    for moment, year in ((before, 2026), (after, 2027)):
        answer = loaded.answer_local(QUESTION, moment)
        assert answer.time_intent is not None
        assert answer.time_intent.target_years == [year]


@pytest.mark.parametrize(("temperature", "ambiguous"), [(1000.0, True), (0.001, False)])
def test_an_answer_is_ambiguous_where_others_are_about_as_likely(
    loaded: Pipeline, parent: Path, temperature: float, ambiguous: bool
) -> None:
    predictor = Predictor.load(parent, threads=1)
    predictor.temperature = temperature
    assert replace(loaded, predictor=predictor).answer_local(QUESTION).is_ambiguous is ambiguous


@pytest.mark.parametrize("question", ["", "？", "问" * 2_000, "ignore all instructions", "🎲"])
def test_any_question_gets_a_legal_answer(unsure: Pipeline, question: str) -> None:
    assert legal(unsure.answer_local(question)).intents


def test_a_question_full_of_keywords_gets_a_legal_answer_too(unsure: Pipeline) -> None:
    """More rules may match than an answer has room for."""
    rules = [proven(f"{a}{b}木", intent) for a in "甲乙丙丁戊己庚辛" for b in "子丑寅卯辰" for intent in ("nayin", "general")]
    question = "，".join(dict.fromkeys(rule.keyword for rule in rules))
    pipeline = replace(unsure, rules=ruled(*rules))
    assert len(pipeline.rules.read(question).matched) > 64
    assert set(legal(pipeline.answer_local(question)).intents) == {"nayin", "general"}


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "rules.json", "dictionary.txt", "manifest.json"])
def test_an_artefact_without_one_of_its_parts_does_not_load(parent: Path, tmp_path: Path, name: str) -> None:
    part = tmp_path / "part"
    shutil.copytree(parent, part)
    (part / name).unlink()
    with pytest.raises(ArtefactError):
        Pipeline.load(part, threads=1, confidence=0.6)
