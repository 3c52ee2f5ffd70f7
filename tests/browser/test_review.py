"""What comes to review: a flag and a disagreement, decided in the browser."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

from schema.tables import intent_second_opinions as opinions
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from tests.browser.conftest import Open, System, labeler_of
from tests.running import wait_until


def given(system: System, labeler: str) -> dict[str, Any]:
    """A question that nobody else works on."""
    [item] = system.post("/work/next", {"limit": 1}, labeler)[1]["questions"]
    return dict(item)


def disagreement(system: System) -> int:
    """A question that anna calls health and bo personality; returns its id."""
    number = int(given(system, "anna")["id"])
    system.post(f"/questions/{number}/label", {"correct_intent": ["health"], "labeler_id": "anna"})
    wait_until(lambda: system.question(number)["is_labeled"], "it is labelled")
    with system.engine.begin() as connection:
        row = connection.execute(questions.select().where(questions.c.id == number)).one()
        answers = {"first_labeler": "anna", "first_answer": ["health"], "second_labeler": "bo", "second_answer": ["personality"]}
        moments = {"first_at": utc_now(), "second_at": utc_now()}
        connection.execute(opinions.delete().where(opinions.c.question_id == number))
        connection.execute(
            opinions.insert(), {"question_id": number, "text_hash": row.text_hash, "agreed": False, **answers, **moments}
        )
    return number


def on_show(page: Page, number: int) -> Any:
    card = page.locator(".question-card")
    expect(card.locator(".meta")).to_contain_text(f"#{number}")
    return card


def test_a_disagreement_is_reviewed_by_keyboard(system: System, open_page: Open) -> None:
    number = disagreement(system)
    page = open_page("review/disagreement")
    card = on_show(page, number)
    expect(card).to_contain_text("anna")
    expect(card).to_contain_text("bo")
    page.keyboard.press("4")
    page.keyboard.press("5")
    expect(card.get_by_role("button", name="改为所选")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".empty").first).to_have_text("没有等待复核的问题。")
    wait_until(lambda: system.question(number)["correct_intent"] == ["personality"], "the reviewer's word stands")
    assert system.question(number)["labeler_id"] == labeler_of(page)
    expect(page.locator(".review-grid")).to_contain_text("anna · bo")


def test_a_flag_is_seen_with_its_comment_and_sent_back(system: System, open_page: Open) -> None:
    number = int(given(system, "carl")["id"])
    flag = {"labeler_id": "carl", "comment": "这算不算命理？"}
    assert system.post(f"/questions/{number}/flag", flag)[0] < 300
    page = open_page("review/flag")
    for _ in range(5):  # other tests flag too
        if f"#{number}" in page.locator(".question-card .meta").inner_text():
            break
        page.get_by_role("button", name="退回重标").click()
        expect(page.locator(".toast.good").last).to_be_visible()
    expect(on_show(page, number)).to_contain_text("这算不算命理？")
    page.get_by_role("button", name="退回重标").click()
    expect(page.locator("#toasts")).to_contain_text("已退回")
    wait_until(lambda: number not in {one["id"] for one in system.get("/review?kind=flag")["items"]}, "the review is closed")
