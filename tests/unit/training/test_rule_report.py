"""What is told of each keyword rule: coverage, overlaps, conflicts, and how often it was right."""

from __future__ import annotations

from inference.rules import KeywordRules, Rule, RuleSet
from schema.taxonomy import Intent
from training.corpus import Row
from training.rule_report import rule_report, rules_alone

ROWS = [
    Row("什么时候能跳槽", ("career",)),
    Row("跳槽之后财运好吗", ("career", "wealth")),
    Row("跳槽和升职选哪个", ("career",)),
    Row("跳槽的人姻缘都不好吗", ("marriage",)),
    Row("今晚吃什么", ("non_fortune",)),
]


def rules(*pairs: tuple[str, Intent]) -> KeywordRules:
    made = [Rule(keyword=word, intent=intent, confidence_boost=0.2, support=9, success=9) for word, intent in pairs]
    return KeywordRules(RuleSet(revision=1, rules=made))


def test_a_rule_is_told_by_the_rows_it_speaks_on_beside_others_against_others_and_whether_they_agree() -> None:
    found = {one["keyword"]: one for one in rule_report(rules(("跳槽", "career"), ("升职", "career"), ("财运", "wealth")), ROWS)}
    assert found["跳槽"] == {
        "keyword": "跳槽",
        "intent": "career",
        "coverage": 0.8,  # four of five rows
        "overlaps": 0.4,  # beside 财运 and 升职
        "conflicts": 0.2,  # 财运 speaks for another intent
        "correct": 3,
        "incorrect": 1,
        "accuracy": 0.75,
    }
    assert (found["升职"]["overlaps"], found["升职"]["conflicts"]) == (0.2, 0.0)
    assert (found["财运"]["overlaps"], found["财运"]["conflicts"], found["财运"]["accuracy"]) == (0.2, 0.2, 1.0)


def test_what_rules_answer_alone_is_measured_over_the_rows_they_answer() -> None:
    assert rules_alone(rules(("跳槽", "career")), ROWS) == {"rules": 1, "answered": 0.8, "right": 0.75}


def test_rules_that_never_speak_and_no_rows_at_all_divide_by_nothing() -> None:
    silent = rules(("官司", "career"))
    assert rule_report(silent, ROWS) == []
    assert rules_alone(silent, ROWS) == {"rules": 1, "answered": 0.0, "right": 0.0}
    assert rules_alone(silent, []) == {"rules": 1, "answered": 0.0, "right": 0.0}
