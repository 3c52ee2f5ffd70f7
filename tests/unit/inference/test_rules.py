"""Keyword rules speak where their word stands, in any script, and never say what is not a legal answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.rules import MAX_KEYWORDS, KeywordRules, Rule, RuleSet
from schema.errors import ArtefactError
from schema.taxonomy import Intent


def rule(keyword: str, intent: Intent, **more: object) -> Rule:
    return Rule.model_validate({"keyword": keyword, "intent": intent, "confidence_boost": 0.1, **more})


def rules(*given: Rule, dictionary: tuple[str, ...] = ()) -> KeywordRules:
    return KeywordRules(RuleSet(revision=1, rules=list(given)), dictionary)


def test_a_rule_matches_its_word_in_any_script_and_width() -> None:
    found = rules(rule("財運", "wealth")).read("問一下財運，Ａ股").matched
    assert [(one.keyword, one.intent) for one in found] == [("財運", "wealth")]
    assert rules(rule("财运", "wealth")).read("我的財運").matched != []


def test_a_word_inside_another_word_does_not_match() -> None:
    assert rules(rule("工作", "career")).read("工作日放假安排").matched == []


def test_a_word_that_jieba_does_not_know_is_kept_whole() -> None:
    unknown = "桑柘木命格"
    assert unknown not in rules().read(f"什么是{unknown}呢").keywords
    assert unknown in rules(rule(unknown, "nayin")).read(f"什么是{unknown}呢").keywords
    assert unknown in rules(dictionary=(unknown,)).read(f"什么是{unknown}呢").keywords
    assert unknown not in rules().read(f"什么是{unknown}呢").keywords, "other rules are not touched"


def test_a_word_that_another_one_begins_with_is_still_a_word() -> None:
    short = [f"{first}{second}" for first in "柘砾晷" for second in "铧篱蔗"]
    words = KeywordRules(RuleSet(revision=0, rules=[]), [*short, *(f"{word}匏" for word in short)])
    for word in short:
        assert words.split(f"看{word}吗") == ["看", word, "吗"]
        assert words.split(f"看{word}匏吗") == ["看", f"{word}匏", "吗"]


def test_matches_come_in_the_order_of_the_question_and_once_each() -> None:
    both = rules(rule("姻缘", "marriage"), rule("财运", "wealth"), rule("姻缘", "general"))
    found = [(one.keyword, one.intent) for one in both.read("财运和姻缘，还是财运").matched]
    assert found == [("财运", "wealth"), ("姻缘", "marriage"), ("姻缘", "general")]


def test_a_rule_that_is_switched_off_is_silent() -> None:
    off = rules(rule("财运", "wealth", enabled=False))
    assert off.read("财运").matched == []
    assert off.read("财运").answer is None
    assert len(off) == 0


def test_keywords_are_distinct_words_of_two_to_eight_characters_without_stop_words() -> None:
    assert rules().read("请问我今年的财运怎么样？财运ok吗123").keywords == ["财运"]
    assert rules().read("").keywords == rules().read("abc 123 ？！").keywords == []
    many = rules().read("事业财运婚姻健康性格学业父母子女朋友搬家官司考试").keywords
    assert len(many) == MAX_KEYWORDS == 10
    assert many[:2] == ["事业", "财运"]


def test_rules_are_silent_where_no_word_stands() -> None:
    assert rules(rule("财运", "wealth")).read("今天天气好吗").answer is None


def test_the_confidence_is_the_smoothed_share_of_labels_that_agreed() -> None:
    assert rules(rule("财运", "wealth", support=8, success=7)).read("财运").answer == (["wealth"], pytest.approx(0.8))
    assert rules(rule("财运", "wealth", source="manual")).read("财运").answer == (["wealth"], pytest.approx(0.8))


def test_rules_for_one_intent_are_independent_witnesses() -> None:
    two = rules(rule("财运", "wealth"), rule("投资", "wealth"))
    assert two.read("财运和投资").answer == (["wealth"], pytest.approx(1 - 0.2 * 0.2))


def test_intents_that_are_nearly_as_sure_are_answered_too_but_no_more_than_three() -> None:
    strong = {"support": 98, "success": 97}  # 0.98
    named = {"财运": "wealth", "姻缘": "marriage", "事业": "career", "健康": "health"}
    all_sure = rules(*(rule(word, intent, **strong) for word, intent in named.items()))  # type: ignore[arg-type]
    intents, confidence = all_sure.read("财运姻缘事业健康").answer or ([], 0.0)
    assert len(intents) == 3
    assert confidence == pytest.approx(0.98)
    uneven = rules(rule("财运", "wealth", **strong), rule("姻缘", "marriage", support=8, success=7))
    assert uneven.read("财运和姻缘").answer == (["wealth"], pytest.approx(0.98))


def test_non_fortune_stands_alone_if_it_is_the_surest_and_gives_way_if_not() -> None:
    sure = {"support": 98, "success": 97}
    weather, money = rule("天气", "non_fortune", **sure), rule("财运", "wealth", support=48, success=47)
    assert rules(weather, money).read("天气和财运").answer == (["non_fortune"], pytest.approx(0.98))
    weather, money = rule("天气", "non_fortune", support=48, success=47), rule("财运", "wealth", **sure)
    assert rules(weather, money).read("天气和财运").answer == (["wealth"], pytest.approx(0.98))


@pytest.mark.parametrize("content", [None, b"{", b'{"revision": 1}', b'{"revision": -1, "rules": []}', b"\xff\xfe"])
def test_rules_that_cannot_be_read_are_an_artefact_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "rules.json").write_bytes(content)
    (tmp_path / "dictionary.txt").write_text("")
    with pytest.raises(ArtefactError, match="cannot be read"):
        KeywordRules.load(tmp_path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_dictionary_that_cannot_be_read_is_an_artefact_error(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "rules.json").write_text('{"revision": 1, "rules": []}')
    if content is not None:
        (tmp_path / "dictionary.txt").write_bytes(content)
    with pytest.raises(ArtefactError, match="cannot be read"):
        KeywordRules.load(tmp_path)
