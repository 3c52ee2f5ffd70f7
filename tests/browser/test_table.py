"""Many questions at once: searched in Chinese, filtered, selected, and labelled together."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import COPIES, Open, System, labeler_of
from tests.browser.system import HOSTILE
from tests.running import wait_until


def rows(page: Page) -> list[str]:
    """The questions that are shown, without their numbers."""
    return [re.sub(r"\s*#\d+$", "", text) for text in page.locator(".found td.text").all_inner_texts()]


def search(page: Page, words: str) -> None:
    with page.expect_response(re.compile(r"/questions\?")):
        page.get_by_label("搜索").fill(words)
    expect(page.get_by_text("正在读取…")).to_have_count(0)


def test_a_search_finds_chinese_words_full_width_and_traditional_forms(open_page: Open) -> None:
    page = open_page("label/table")
    expect(page.locator(".found tbody tr").first).to_be_visible()
    search(page, "财运")
    found = rows(page)
    assert found
    assert all("财运" in text or "財運" in text for text in found)
    search(page, "財運")
    assert rows(page) == found
    search(page, "这几个字没有人问过")
    expect(page.locator(".found .empty")).to_be_visible()


def test_filters_narrow_what_is_found(open_page: Open) -> None:
    page = open_page("label/table")
    page.get_by_text("更多条件").click()
    with page.expect_response(re.compile(r"method=llm_fallback")):
        page.get_by_label("方法").select_option("llm_fallback")
    with page.expect_response(re.compile(r"max_confidence=0.5")):
        page.get_by_label("置信度不高于 %").fill("50")
    expect(page.get_by_text("正在读取…")).to_have_count(0)
    shown = page.locator(".found tbody tr")
    expect(shown.first).to_be_visible()
    for row in shown.all_inner_texts():
        assert "大模型" in row
        share = re.search(r"(\d+)%", row)
        assert share is not None
        assert int(share[1]) <= 50


def test_a_selection_is_labelled_at_once_by_keyboard(system: System, open_page: Open) -> None:
    page = open_page("label/table")
    expect(page.locator(".found tbody tr").first).to_be_visible()
    with page.expect_response(re.compile(r"status=open")):
        page.get_by_label("状态").select_option("open")
    expect(page.get_by_text("正在读取…")).to_have_count(0)
    numbers = []
    for place in range(3):
        row = page.locator(".found tbody tr").nth(place)
        row.get_by_role("checkbox").check()
        number = re.search(r"#(\d+)", row.inner_text())
        assert number is not None
        numbers.append(int(number[1]))
    page.keyboard.press("4")
    expect(page.locator(".bulk [aria-pressed=true]")).to_contain_text("健康运势")
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("已标注 3 条")
    by = labeler_of(page)
    wait_until(lambda: all(system.question(number)["labeler_id"] == by for number in numbers), "all three are labelled")
    assert all(system.question(number)["correct_intent"] == ["health"] for number in numbers)


def test_markup_in_a_list_is_shown_as_text(open_page: Open) -> None:
    page = open_page("label/table")
    expect(page.locator(".found tbody tr").first).to_be_visible()
    search(page, "onerror")
    assert rows(page) == [HOSTILE] * COPIES
    assert page.locator(".found img, .found script").count() == 0
