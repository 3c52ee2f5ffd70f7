"""Labelling in a real browser, by keyboard, against the real system."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from local.traffic import demo_questions
from schema.taxonomy import INTENTS
from tests.browser.conftest import COPIES, Open, System, labeler_of
from tests.browser.system import HOSTILE
from tests.running import wait_until

KEYS = dict(zip(INTENTS, "1234567890q", strict=True))
RIGHT = {one.question: one.intents for one in demo_questions()}
WATCH = """() => {
  window.took = [];
  addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const began = performance.now(), before = document.querySelector(".question")?.textContent;
    new MutationObserver((_, observer) => {
      const now = document.querySelector(".question")?.textContent;
      if (now && now !== before) { window.took.push(performance.now() - began); observer.disconnect(); }
    }).observe(document.querySelector(".stage"), {childList: true, subtree: true});
  }, true);
}"""


def shown(page: Page) -> tuple[int, str]:
    """Id and text of the question on `page`."""
    card = page.locator(".question-card")
    expect(card).to_be_visible()
    number = re.search(r"#(\d+)", card.locator(".meta").inner_text())
    assert number is not None
    return int(number[1]), card.locator(".question").inner_text()


def chosen(page: Page) -> set[str]:
    return set(page.locator(".intent[aria-pressed=true]").evaluate_all("all => all.map((one) => one.dataset.intent)"))


def choose(page: Page, intents: set[str]) -> None:
    """By keyboard: take away what is too much, add what is missing."""
    for intent in [*(chosen(page) - intents), *(intents - chosen(page))]:
        page.keyboard.press(KEYS[intent])


def is_labeled(system: System, number: int, intents: set[str], by: str) -> bool:
    found = system.question(number)
    return found["is_labeled"] and set(found["correct_intent"]) == intents and found["labeler_id"] == by


def test_markup_is_shown_as_text_and_one_label_is_for_all_copies(system: System, open_page: Open) -> None:
    """It comes first: while nothing is labelled the least certain question is among the first that are given."""
    page = open_page()
    for _ in range(12):
        number, text = shown(page)
        if "<script>" in text:
            break
        page.keyboard.press("s")
    assert text == HOSTILE
    assert page.locator(".question *").count() == 0, "no element in it"
    assert "owned" not in page.title()
    expect(page.locator(".question-card .meta")).to_contain_text(f"同样的问题 {COPIES} 条")
    choose(page, {"nayin"})
    page.keyboard.press("Enter")
    wait_until(lambda: is_labeled(system, number, {"nayin"}, labeler_of(page)), "it is labelled")
    copies = [one["id"] for one in system.get("/questions?q=onerror")["questions"]]
    assert len(copies) == COPIES
    wait_until(lambda: all(is_labeled(system, copy, {"nayin"}, labeler_of(page)) for copy in copies), "so are its copies")


def test_progress_moves_on_another_page_without_reloading(open_page: Open) -> None:
    page, other = open_page(), open_page()
    ready = other.locator(".progress .count b")
    before = int(ready.inner_text())
    shown(page)
    choose(page, {"career"})
    page.keyboard.press("Enter")
    expect(ready).to_have_text(str(before + 1))


def test_twenty_questions_are_labelled_by_keyboard_alone(system: System, open_page: Open) -> None:
    """A stranger says a name, then labels; each next question is there within 100 ms."""
    page = open_page(name=None)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.type("lin")
    page.keyboard.press("Enter")
    shown(page)
    page.evaluate(WATCH)
    said: dict[int, set[str]] = {}
    for _ in range(20):
        number, text = shown(page)
        assert number not in said
        said[number] = set(RIGHT.get(text, ["nayin"]))
        choose(page, said[number])
        page.keyboard.press("Enter")
        expect(page.locator(".question-card .meta")).not_to_contain_text(re.compile(rf"#{number}\b"))
    assert max(page.evaluate("took")) < 100
    wait_until(lambda: all(is_labeled(system, n, intents, "lin") for n, intents in said.items()), "all are labelled")


def test_undo_goes_back_one_step_and_the_label_is_gone(system: System, open_page: Open) -> None:
    page = open_page()
    first, _ = shown(page)
    choose(page, {"health"})
    page.keyboard.press("Enter")
    second, _ = shown(page)
    choose(page, {"wealth", "career"})
    page.keyboard.press("Enter")
    by = labeler_of(page)
    wait_until(lambda: is_labeled(system, second, {"wealth", "career"}, by), "both are labelled")
    page.keyboard.press("u")
    assert shown(page)[0] == second
    assert chosen(page) == {"wealth", "career"}, "as it was left"
    wait_until(lambda: not system.question(second)["is_labeled"], "it waits for its label again")
    assert is_labeled(system, first, {"health"}, by), "one step, not two"
    page.keyboard.press("u")
    assert shown(page)[0] == first
    wait_until(lambda: not system.question(first)["is_labeled"], "so does the first")


def test_not_fortune_stands_alone_and_three_are_the_most(open_page: Open) -> None:
    page = open_page()
    shown(page)
    choose(page, {"career", "wealth", "health"})
    page.keyboard.press(KEYS["general"])
    assert chosen(page) == {"career", "wealth", "health"}
    expect(page.locator("#toasts")).to_contain_text("最多三个")
    page.keyboard.press(KEYS["non_fortune"])
    assert chosen(page) == {"non_fortune"}
    page.keyboard.press(KEYS["general"])
    assert chosen(page) == {"general"}
    page.keyboard.press(KEYS["general"])
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("至少选一个")


def test_a_time_intent_is_edited_with_its_years(system: System, open_page: Open) -> None:
    page = open_page()
    number, _ = shown(page)
    choose(page, {"wealth"})
    page.keyboard.press("t")
    page.get_by_label("时间类型").select_option("year_range")
    years = page.get_by_label("年份，如 2027, 2028", exact=True)
    years.fill("2027 到")
    years.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("年份看不懂")
    assert shown(page)[0] == number
    page.get_by_label("年份，如 2027, 2028", exact=True).fill("２０２７至2029")
    page.get_by_label("年份，如 2027, 2028", exact=True).press("Enter")
    page.keyboard.press("Enter")
    wait_until(lambda: system.question(number)["is_labeled"], "it is labelled")
    time = system.question(number)["correct_time_intent"]
    assert (time["type"], time["target_years"]) == ("year_range", [2027, 2028, 2029])


def test_skip_postpone_and_flag_are_different(system: System, open_page: Open) -> None:
    page = open_page()
    seen = [shown(page)[0]]
    page.keyboard.press("s")
    seen.append(shown(page)[0])
    page.keyboard.press("p")
    seen.append(shown(page)[0])
    page.keyboard.press("f")
    page.get_by_label("说明").fill("这是不是十神？")
    page.keyboard.press("Enter")
    last = shown(page)[0]
    assert len({*seen, last}) == 4
    kept = "Object.keys(localStorage).filter((name) => name.startsWith('il.out.')).length"
    wait_until(lambda: page.evaluate(kept) == 0, "all is sent")
    expect(page.locator(".toast.bad")).to_have_count(0)
    page.reload()
    shown(page)
    ids = {item["id"] for item in system.post("/work/next", {"limit": 50}, _header(page))[1]["questions"]}
    assert not ids & set(seen), "none of them comes back now"


def _header(page: Page) -> str:
    return str(page.evaluate("encodeURIComponent(JSON.parse(localStorage.getItem('il.labeler')))"))


def test_the_connection_is_lost_and_nothing_else(system: System, open_page: Open) -> None:
    """The api goes away: the labeler is told and goes on; it comes back: all is sent, also after the page was closed."""
    page = open_page()
    shown(page)
    page.wait_for_timeout(300)
    by, numbers = labeler_of(page), []
    system.end_api()
    try:
        for _ in range(3):
            numbers.append(shown(page)[0])
            choose(page, {"nayin"})
            page.keyboard.press("Enter")
        expect(page.locator("#banner")).to_contain_text("连接断开")
        expect(page.locator("#banner")).to_contain_text("3 个标注")
    finally:
        system.start_api()
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#toasts")).to_contain_text("已补发")
    wait_until(lambda: all(is_labeled(system, number, {"nayin"}, by) for number in numbers), "all three are labelled")
    shown(page)


def test_two_browsers_are_never_given_the_same_question(system: System, open_page: Open) -> None:
    pages = [open_page(), open_page()]
    seen: list[set[int]] = [set(), set()]
    for _ in range(8):
        for page, mine in zip(pages, seen, strict=True):
            mine.add(shown(page)[0])
            choose(page, {"general"})
            page.keyboard.press("Enter")
    assert [len(mine) for mine in seen] == [8, 8]
    assert not seen[0] & seen[1]


def test_keys_are_shown_changed_and_remembered(open_page: Open) -> None:
    page = open_page()
    number, _ = shown(page)
    page.keyboard.press("?")
    page.get_by_role("button", name="跳过：S，更换").click()
    page.keyboard.press("x")
    expect(page.get_by_role("button", name="跳过：X，更换")).to_be_focused()
    page.keyboard.press("Escape")
    page.reload()
    number, _ = shown(page)
    page.keyboard.press("s")
    assert shown(page)[0] == number
    page.keyboard.press("x")
    expect(page.locator(".question-card .meta")).not_to_contain_text(re.compile(rf"#{number}\b"))
