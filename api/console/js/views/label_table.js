// Many questions: searched, filtered, selected, and labelled at once.

import { get, labeler, post } from "../api.js";
import { h, isTyping, put, settle } from "../dom.js";
import { moment, number, percent, t } from "../i18n.js";
import { INTENTS, intentName, intentNames, methodName, toggled } from "../intents.js";
import { doneBy, pressed, shown, showKeys } from "../keys.js";
import { badge, button, confirm, empty, field, loading, select, table, toast, attempt, trouble } from "../ui.js";

const PAGE = 50;
const ASK_FROM = 20; // so many at once are asked about
const METHODS = ["local_model", "keyword_fallback", "llm_fallback"];
const STATUSES = ["open", "labeled", "skipped", "flagged"];
let filters = {}; // as they were left

export function mountTable(root, modes) {
  let rows = [], cursor = null, turn = 0, intents = [];
  let selected = new Set();
  const list = h("div", { class: "found" });
  const bar = h("div", { class: "bulk card", role: "group", "aria-label": t("bulk.title"), hidden: true });
  root.append(h("div", { class: "label-head row spread" }, modes, button(t("keys.show"), showKeys, { class: "plain" })),
    filterForm(), list, bar);

  async function load(more = false) {
    const mine = ++turn;
    if (!more) { rows = []; cursor = null; selected = new Set(); put(list, loading()); drawBar(); }
    try {
      let from = more ? cursor : null, found = [];
      do { // where many are stored, an answer may find none so far, and say where to go on
        const told = await get("/questions", { ...filters, cursor: from, limit: PAGE });
        if (mine !== turn) return;
        [found, from] = [told.questions, told.next_cursor];
      } while (!found.length && from !== null);
      [rows, cursor] = [[...rows, ...found], from];
      draw();
    } catch (error) {
      if (mine === turn) put(list, trouble(error, () => load(more)));
    }
  }

  function draw() {
    if (!rows.length) return put(list, empty(t("table.nothing")));
    const every = h("input", {
      type: "checkbox", "aria-label": t("bulk.all"), checked: selected.size === rows.length,
      onchange: (event) => { selected = new Set(event.target.checked ? rows.map((row) => row.id) : []); draw(); },
    });
    const columns = [
      { name: every, kind: "tick", cell: tick },
      { name: t("table.question"), kind: "text", cell: (row) => [h("span", { lang: "zh" }, row.question), h("small", { class: "dim" }, ` #${row.id}`)] },
      { name: t("table.answer"), cell: (row) => intentNames(row.intents) },
      { name: t("table.confidence"), kind: "number", cell: (row) => percent(row.confidence, 0) },
      { name: t("table.method"), kind: "nowrap", cell: (row) => methodName(row.method) },
      { name: t("table.version"), cell: (row) => row.model_version ?? "–" },
      { name: t("table.label"), cell: (row) => labelOf(row) },
      { name: t("table.asked"), kind: "nowrap", cell: (row) => moment(row.asked_at) },
    ];
    put(list, table(columns, rows, { stack: true, caption: t("table.caption"), rowProps: (row) => ({ class: selected.has(row.id) ? "chosen" : "" }) }),
      h("div", { class: "row spread" }, h("span", { class: "dim" }, t("table.shown", { n: number(rows.length) })),
        cursor && button(t("table.more"), () => load(true))));
    drawBar();
  }

  function tick(row) {
    return h("input", {
      type: "checkbox", checked: selected.has(row.id), "aria-label": t("bulk.one", { id: row.id }),
      onchange: (event) => {
        if (event.target.checked) selected.add(row.id); else selected.delete(row.id);
        event.target.closest("tr").classList.toggle("chosen", event.target.checked);
        drawBar();
      },
    });
  }

  function drawBar() {
    bar.hidden = selected.size === 0;
    if (bar.hidden) return;
    put(bar, h("div", { class: "row" }, h("b", {}, t("bulk.chosen", { n: number(selected.size) })),
      h("div", { class: "row pills" }, INTENTS.map((intent) => h("button", {
        type: "button", class: "pill", "aria-pressed": String(intents.includes(intent)), onclick: () => toggle(intent),
        "aria-keyshortcuts": shown(`intent.${intent}`),
      }, h("kbd", { "aria-hidden": "true" }, shown(`intent.${intent}`)), intentName(intent)))),
      button(t("bulk.apply"), apply, { class: "primary", disabled: !intents.length }),
      button(t("bulk.clear"), () => { selected = new Set(); draw(); }, { class: "plain" })));
  }

  function toggle(intent) {
    const next = toggled(intents, intent);
    if (next === null) return toast(t("label.too.many"), "bad");
    intents = next;
    drawBar();
  }

  async function apply() {
    if (!intents.length || !selected.size) return;
    if (!labeler()) { dispatchEvent(new Event("ask-name")); return; }
    const ids = [...selected];
    const said = t("bulk.sure", { n: number(ids.length), intents: intentNames(intents) });
    if (ids.length >= ASK_FROM && !(await confirm(t("bulk.title"), [said], { yes: t("bulk.apply") }))) return;
    const labels = ids.map((id) => ({ question_id: id, correct_intent: intents, labeler_id: labeler() }));
    const told = await attempt(() => post("/questions/labels", { labels }));
    if (!told) return;
    const status = new Map(told.results.map((one) => [one.question_id, one.status]));
    const good = ids.filter((id) => status.get(id) < 300);
    for (const row of rows) {
      if (status.get(row.id) < 300) Object.assign(row, { correct_intent: intents, labeler_id: labeler(), is_labeled: true });
    }
    selected = new Set(ids.filter((id) => !(status.get(id) < 300)));
    intents = [];
    draw();
    const bad = ids.length - good.length;
    toast(bad ? t("bulk.some", { n: good.length, bad }) : t("bulk.done", { n: good.length }), bad ? "bad" : "good");
  }

  function filterForm() {
    const set = (name, value) => { filters = { ...filters, [name]: value }; load(); };
    const late = settle(set, 250);
    const text = (name, props = {}) => h("input", {
      type: "text", name, value: filters[name] ?? "", ...props,
      oninput: (event) => { if (!event.isComposing) late(name, readFilter(name, event.target.value)); },
      oncompositionend: (event) => late(name, readFilter(name, event.target.value)),
    });
    const choice = (name, choices) => select([["", t("any")], ...choices], filters[name] ?? "", (value) => set(name, value), { name });
    const share = { inputmode: "decimal", placeholder: "0–100" };
    return h("form", { class: "card filters", role: "search", onsubmit: (event) => { event.preventDefault(); load(); } },
      field(t("filter.q"), text("q", { type: "search", placeholder: t("filter.q.hint"), "data-search": "" })),
      field(t("filter.intent"), choice("intent", INTENTS.map((one) => [one, intentName(one)]))),
      field(t("filter.status"), choice("status", STATUSES.map((one) => [one, t(`status.${one}`)]))),
      h("details", {}, h("summary", {}, t("filter.more")), h("div", { class: "filters-more" },
        field(t("filter.method"), choice("method", METHODS.map((one) => [one, methodName(one)]))),
        field(t("filter.version"), text("version")), field(t("filter.labeler"), text("labeler")),
        field(t("filter.min"), text("min_confidence", { ...share, value: percentOf(filters.min_confidence) })),
        field(t("filter.max"), text("max_confidence", { ...share, value: percentOf(filters.max_confidence) })),
        field(t("filter.from"), text("from", { type: "date", value: filters.from?.slice(0, 10) ?? "" })),
        field(t("filter.to"), text("to", { type: "date", value: filters.to?.slice(0, 10) ?? "" })))));
  }

  function onKey(event) {
    if (isTyping(event) || document.querySelector("dialog[open]")) return;
    const key = pressed(event);
    const what = doneBy(key);
    if (key === "/") { event.preventDefault(); root.querySelector("[data-search]").focus(); }
    else if (what === "help") { event.preventDefault(); showKeys().then(drawBar); }
    else if (selected.size && what?.startsWith("intent.")) { event.preventDefault(); toggle(what.slice(7)); }
    else if (selected.size && what === "accept" && !event.target.matches?.("a, button, summary")) { event.preventDefault(); apply(); }
  }

  document.addEventListener("keydown", onKey);
  load();
  return () => { turn += 1; document.removeEventListener("keydown", onKey); };
}

const percentOf = (share) => (share === undefined || share === "" ? "" : String(Math.round(share * 100)));

/** A filter's value as the API takes it: shares of 0..1, and whole days. */
function readFilter(name, value) {
  if (value === "") return "";
  if (name.endsWith("_confidence")) {
    const share = Number(value.normalize("NFKC")) / 100;
    return Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : "";
  }
  if (name === "from") return new Date(`${value}T00:00:00`).toISOString();
  if (name === "to") return new Date(`${value}T23:59:59.999`).toISOString();
  return value.trim();
}

function labelOf(row) {
  if (!row.is_labeled && !row.correct_intent) return ["skipped", "flagged"].includes(filters.status) ? badge(t(`status.${filters.status}`)) : "–";
  return [h("b", {}, intentNames(row.correct_intent)), h("small", { class: "dim" }, ` ${row.labeler_id ?? ""}`)];
}
