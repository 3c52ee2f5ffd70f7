"""Every view in both languages and at both widths; and what operators do: candidates, roll back, trainings."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, System
from tests.running import ROOT, wait_until

VIEWS = ("label", "label/table", "review", "trainings", "models", "rules", "overview")
SHOTS = ROOT / "var" / "screenshots"
SERIOUS = {"serious", "critical"}


def settled(page: Page) -> None:
    """Until nothing on `page` says that it is being read."""
    expect(page.locator("main > *").nth(1)).to_be_visible()
    expect(page.get_by_text("正在读取…").or_(page.get_by_text("Loading…"))).to_have_count(0)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("width", [1440, 360])
def test_every_view_fits_is_accessible_and_is_pictured(open_page: Open, lang: str, width: int) -> None:
    """No view is wider than the window, axe finds nothing serious, and no text is missing. Pictures: ``var/screenshots``."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page = open_page(lang=lang, width=width)
    for view in VIEWS:
        page.evaluate("(view) => { location.hash = `#/${view}`; }", view)
        settled(page)
        expect(page.locator(".notice.bad")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in SERIOUS] == [], view
        page.screenshot(path=SHOTS / f"{view.replace('/', '-')}-{lang}-{width}.png")


def test_dark_is_as_readable(open_page: Open) -> None:
    page = open_page("overview", dark=True)
    for view in ("overview", "label", "models"):
        page.evaluate("(view) => { location.hash = `#/${view}`; }", view)
        settled(page)
        found = Axe().run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in SERIOUS] == []
    page.get_by_role("button", name="浅色").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light", "remembered"


def test_the_language_is_switched_and_remembered(open_page: Open) -> None:
    page = open_page("models")
    expect(page.get_by_role("heading", name="正在服务")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Serving now")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "en"
    page.reload()
    expect(page.get_by_role("link", name="Overview")).to_be_visible()


def test_a_canary_is_started_promoted_and_rolled_back(system: System, open_page: Open) -> None:
    """Each step says what it does, and the replicas' versions are seen to follow without reloading."""
    page = open_page("models")
    dialog, replicas = page.get_by_role("dialog"), page.get_by_role("group", name="副本")
    page.get_by_role("button", name="灰度 / 影子 v1").click()
    expect(dialog).to_contain_text("v0 继续服务其余用户")
    dialog.get_by_label("用户比例 %").fill("25")
    dialog.get_by_label("原因（可不填）").fill("试一试")
    dialog.get_by_role("button", name="开始").click()
    expect(page.locator(".candidate")).to_contain_text("灰度 25%")
    expect(replicas.locator("tbody tr").first).to_contain_text("v1")
    assert system.get("/rollout")["candidate"]["traffic"] == 25

    page.get_by_role("button", name="转正", exact=True).click()
    expect(dialog).to_contain_text("v1 将回答所有用户，取代 v0")
    dialog.get_by_role("button", name="转正").click()
    expect(page.locator(".huge")).to_have_text("v1")
    expect(replicas.locator("tbody tr").first.locator("b")).to_have_text("v1")

    page.get_by_role("button", name="回滚").click()
    expect(dialog).to_contain_text("v0 将立即回答所有用户，取代 v1")
    dialog.get_by_role("button", name="回滚").click()
    expect(page.locator(".huge")).to_have_text("v0")
    expect(page.get_by_text("全部副本已切换")).to_be_visible()
    history = page.get_by_role("group", name="什么时候是谁在服务").locator("tbody tr")
    assert [row.split("\t")[1].strip() for row in history.all_inner_texts()[:3]] == ["v0", "v1", "v1"]


def test_a_version_that_failed_its_gate_needs_a_reason(system: System, open_page: Open) -> None:
    page = open_page("models")
    page.get_by_role("button", name="启用 v2").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("没有通过门禁")
    dialog.get_by_role("button", name="启用").click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert system.get("/models")["serving"] == "v0"


def test_a_card_is_shown_with_its_pictures(open_page: Open) -> None:
    page = open_page("models")
    page.get_by_role("button", name="说明 v0").click()
    card = page.locator("dialog .markdown")
    expect(card.locator("table").first).to_be_visible()
    assert card.locator("img").evaluate_all("all => all.every((one) => one.complete && one.naturalWidth > 0)")


def test_a_training_is_started_watched_and_cancelled(system: System, open_page: Open) -> None:
    [item] = system.post("/work/next", {"limit": 1}, "starter")[1]["questions"]
    assert system.post(f"/questions/{item['id']}/label", {"correct_intent": ["health"], "labeler_id": "starter"})[0] == 202
    wait_until(lambda: system.question(item["id"])["is_labeled"], "a label waits for a training")
    page = open_page("trainings")
    page.get_by_role("button", name="开始训练").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("通过门禁的版本会自动启用")
    dialog.get_by_label("说明（可不填）").fill("浏览器里开始的")
    dialog.get_by_role("button", name="开始训练").click()
    expect(page.locator(".batch").first).to_contain_text("浏览器里开始的")
    page.get_by_role("button", name="取消训练").click()
    page.get_by_role("dialog").get_by_role("button", name="取消训练").click()
    expect(page.locator(".detail .badge").first).to_have_text("已取消")


def test_new_questions_change_the_counts_without_reloading(system: System, open_page: Open) -> None:
    page = open_page("rules")
    expect(page.locator(".badge", has_text="实时")).to_be_visible()
    system.ask(["紫微星今年亮吗", "紫微星明年亮吗", "紫微星后年亮吗"])
    expect(page.locator(".counts li[data-keyword='紫微']")).to_contain_text("3")
