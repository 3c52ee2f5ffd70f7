"""Mined rules are backed by enough labels, never overrule a person, and are found again when they serve."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference.rules import KeywordRules, Rule, RuleSet
from schema.errors import ConfigError, RequestError
from schema.taxonomy import Intent
from training.corpus import Row
from training.keywords import MAX_BOOST, MIN_BOUND, dictionary, gather, merge, mine, read_rules, retire, rules_json, wilson


def asked(intent: Intent, *questions: str) -> list[Row]:
    return [Row(question, (intent,)) for question in questions]


def mined(rows: list[Row], **options: float) -> dict[tuple[str, str], Rule]:
    return {(rule.keyword, rule.intent): rule for rule in mine([*rows, *OTHERS], **options)}  # type: ignore[arg-type]


OTHERS = asked("general", *(f"{n}?" for n in range(60)))
"""Questions without words, so that no intent is everybody's."""
JOBS = asked("career", "跳槽行不行", "何时跳槽", "跳槽跳槽还是跳槽")


def test_a_word_counts_once_per_question() -> None:
    rule = mined(JOBS)["跳槽", "career"]
    assert (rule.support, rule.success, rule.source, rule.enabled) == (3, 3, "auto", True)


def test_a_word_in_too_few_questions_is_no_rule() -> None:
    assert ("跳槽", "career") not in mined(JOBS, min_support=4)
    assert ("跳槽", "career") in mined(JOBS, min_support=3)


def test_a_word_that_people_disagree_about_is_no_rule() -> None:
    rows = asked("career", *(f"{n}跳槽" for n in range(12))) + asked("wealth", *(f"{n}跳槽能赚钱吗" for n in range(4)))
    assert mined(rows, min_confidence=0.75)["跳槽", "career"].support == 16
    assert ("跳槽", "career") not in mined(rows, min_confidence=0.76)
    assert ("跳槽", "wealth") not in mined(rows, min_confidence=0.26)


def test_a_word_may_speak_for_two_intents() -> None:
    rows = [Row(row.question, ("career", "wealth")) for row in JOBS]
    assert {("跳槽", "career"), ("跳槽", "wealth")} <= mined(rows).keys()


def test_stop_words_and_single_characters_are_no_rules() -> None:
    words = {word for word, _ in mined(asked("career", "请问我怎么跳槽", "请问他怎么跳槽", "请问你怎么跳槽"))}
    assert words == {"跳槽"}


def test_the_limit_keeps_the_surest_rules() -> None:
    rows = [*asked("wealth", *(f"财运{tail}" for tail in ("好", "坏", "如意", "亨通", "平平"))), *JOBS]
    rules = mine(rows, limit=1000)
    bounds = [wilson(rule.success, rule.support) for rule in rules]
    assert bounds == sorted(bounds, reverse=True)
    assert mine(rows, limit=1) == rules[:1]
    assert rules[0].keyword == "财运"


def test_the_boost_grows_with_the_evidence_and_is_half_for_non_fortune() -> None:
    few, many = mined(JOBS), mined(asked("career", *(f"{i}跳槽" for i in range(30))))
    assert 0 < few["跳槽", "career"].confidence_boost < many["跳槽", "career"].confidence_boost <= MAX_BOOST
    idle = mined([Row(row.question, ("non_fortune",)) for row in JOBS])
    assert idle["跳槽", "non_fortune"].confidence_boost == pytest.approx(few["跳槽", "career"].confidence_boost / 2)


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = [*JOBS, *asked("wealth", "财运好", "财运坏", "财运平平")]
    assert mine(rows) == mine(rows[::-1])


def test_every_mined_word_is_found_again_by_the_rules_that_serve() -> None:
    rows = [*JOBS, *asked("nayin", "霹雳火命", "是霹雳火吗", "查霹雳火")]
    rules = mine([*rows, *OTHERS], words=["霹雳火"])
    assert "霹雳火" in {rule.keyword for rule in rules}
    serving = KeywordRules(RuleSet(revision=1, rules=rules))
    for rule in rules:
        holders = [row for row in rows if rule.keyword in {found.keyword for found in serving.read(row.question).matched}]
        assert len(holders) == rule.support, rule.keyword


def rule(keyword: str, intent: Intent = "career", **more: object) -> Rule:
    return Rule.model_validate({"keyword": keyword, "intent": intent, "confidence_boost": 0.1, **more})


def test_merging_updates_mined_rules_and_adds_new_ones_in_order() -> None:
    old, newer, new = rule("跳槽", support=3, success=3), rule("跳槽", support=9, success=9), rule("加薪", support=3, success=3)
    assert merge([old], [newer, new]) == [new, newer]
    assert merge([old], [rule("跳槽", "wealth")]) == [old, rule("跳槽", "wealth")]


def test_merging_keeps_what_a_person_wrote() -> None:
    written = rule("跳槽", source="manual")
    assert merge([written], [rule("跳槽", support=50, success=50)]) == [written]


def test_a_rule_that_was_switched_off_does_not_come_back() -> None:
    off = rule("跳槽", enabled=False)
    assert merge([off], [rule("跳槽", support=50, success=50)]) == [off]


def test_a_rule_that_was_retired_comes_back_with_evidence() -> None:
    gone = rule("跳槽", enabled=False, retired_reason="1 of 9 labelled questions agree")
    assert merge([gone], [rule("跳槽", support=50, success=50)]) == [rule("跳槽", support=50, success=50)]


def test_a_rule_that_labels_speak_against_is_retired_and_a_person_s_only_flagged() -> None:
    rows = asked("wealth", *(f"{what}跳槽" for what in ("因为钱", "为了加薪", "缺钱才", "想发财才", "收入低")))
    mined_one, written = retire([rule("跳槽", support=3, success=3), rule("跳槽", source="manual")], gather(rows, []))
    assert (mined_one.enabled, written.enabled) == (False, True)
    assert mined_one.retired_reason == written.retired_reason == "0 of 5 labelled questions agree; precision is at least 0.00"


def test_a_rule_that_people_disagree_with_live_is_retired_and_one_they_agree_with_stays() -> None:
    [wrong, right] = retire([rule("升职", agreed=1, judged=6), rule("加薪", agreed=6, judged=6)], gather(JOBS, []))
    assert (wrong.enabled, right.enabled) == (False, True)
    assert wrong.retired_reason == "people agreed with 1 of 6 answers that it spoke for"


def test_luck_is_no_evidence() -> None:
    """The lower end of the interval: 2 of 2 may be luck, 3 of 3 hardly; published values of Wilson's interval."""
    assert wilson(2, 2) < MIN_BOUND < wilson(3, 3)
    assert wilson(9, 10) == pytest.approx(0.596, abs=0.001)
    assert wilson(0, 0) == 0.0


def test_a_word_is_no_rule_for_an_intent_that_everybody_carries() -> None:
    assert mine(asked("career", *(f"{what}老板" for what in ("跟", "找", "骂", "谢")))) == []


def test_words_that_jieba_splits_are_found() -> None:
    heads = ("问问", "查一下", "我", "他说", "什么叫", "讲讲", "命里有", "听说")
    tails = ("好吗", "是啥", "怎么看", "的人", "准吗", "来了", "旺财", "不懂")
    rows = asked("nayin", *(f"{head}咸池煞{tail}" for head, tail in zip(heads, tails, strict=True)))
    assert len(KeywordRules(RuleSet(revision=0, rules=[])).split("咸池煞")) > 1
    others = asked("general", *("".join(chr(0x4E00 + 97 * n + 31 * i) for i in range(12)) for n in range(60)))
    assert ("咸池煞", "nayin") in mined([*rows, *others])


def test_live_counts_are_the_evidence_of_rules_without_mined_support(tmp_path: Path) -> None:
    lines = [
        {"keyword": "跳槽", "intent": "career", "confidence_boost": 0.1, "success_count": 6, "failure_count": 2, "id": 5},
        {"keyword": "加薪", "intent": "wealth", "confidence_boost": 0.1, "support": 4, "success": 4, "success_count": 1},
    ]
    path = tmp_path / "rules.jsonl"
    path.write_text("\n\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    first, second = read_rules(path)
    assert (first.support, first.success) == (8, 6)
    assert (second.support, second.success) == (4, 4)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('{"keyword": "跳槽", "intent": "luck", "confidence_boost": 0.1}', "intent"),
        ('{"keyword": "跳槽", "intent": "career", "confidence_boost": 1.5}', "confidence_boost"),
        ('{"intent": "career", "confidence_boost": 0.1}', "keyword"),
        ("not json", None),
    ],
)
def test_a_bad_rule_is_named_by_line_and_field(tmp_path: Path, line: str, field: str | None) -> None:
    path = tmp_path / "rules.jsonl"
    path.write_text(f'{{"keyword": "加薪", "intent": "wealth", "confidence_boost": 0.1}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(RequestError, match=r"rules\.jsonl line 3: ") as caught:
        read_rules(path)
    assert caught.value.field == field


def test_a_missing_file_of_rules_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give a file of JSON lines"):
        read_rules(tmp_path / "none.jsonl")


def test_written_rules_are_read_back_whole(tmp_path: Path) -> None:
    rules = [rule("加薪", "wealth", support=4, success=4), rule("天河水", "nayin", source="manual"), rule("天河水", "general")]
    (tmp_path / "rules.json").write_text(rules_json(rules, 3), encoding="utf-8")
    (tmp_path / "dictionary.txt").write_text(dictionary(rules), encoding="utf-8")
    assert dictionary(rules) == "加薪\n天河水\n"
    read = KeywordRules.load(tmp_path)
    assert (read.revision, len(read)) == (3, 3)
    found = read.read("天河水命").matched
    assert [(one.keyword, one.intent) for one in found] == [("天河水", "nayin"), ("天河水", "general")]
