// 规则: which words stand with which intents just now, live; and the keyword rules with how they do.

import { get, post, ROOT } from "../api.js";
import { h, put, settle } from "../dom.js";
import { moment, number, percent, t } from "../i18n.js";
import { INTENTS, intentName } from "../intents.js";
import { attempt, badge, button, card, confirm, empty, field, loading, segments, select, table, trouble } from "../ui.js";

const WINDOWS = ["total", "hour", "day", "week", "trend"];
const SHOWN = 25;
const MOST = 1000;
const AGAIN_MS = 5000;

export function mount(root) {
  const ends = [];
  const counts = h("section", { class: "card" });
  const rules = h("section", { class: "card" });
  root.append(h("div", { class: "grid rules-grid" }, counts, rules));
  ends.push(liveCounts(counts), ruleList(rules));
  return () => ends.forEach((end) => end());
}

/** Counts as they change: asked for once, then each changed total is put in its place. */
function liveCounts(box) {
  let window_ = "total", intent = "", rows = [], since = null, source = null, state = "wait", ended = false, turn = 0, timer = 0;
  const head = h("div", {}), body = h("div", {}, loading());
  box.append(head, body);

  function drawHead() {
    const kind = { live: "good", wait: "info", away: "warn" }[state];
    put(head, h("div", { class: "row spread" }, h("h2", {}, t("counts.title")), badge(t(`counts.${state}`), kind)),
      h("div", { class: "row filters-row" }, segments(WINDOWS.map((one) => [one, t(`window.${one}`)]), window_, (value) => { window_ = value; drawHead(); load(); }, t("counts.window")),
        select([["", t("any")], ...INTENTS.map((one) => [one, intentName(one)])], intent, (value) => { intent = value; load(); listen(); }, { "aria-label": t("filter.intent") })));
  }

  async function load() {
    const mine = ++turn;
    try {
      const told = await get("/keywords/counts", { window: window_, intent, limit: SHOWN });
      if (ended || mine !== turn) return;
      rows = told.counts;
      since = told.since;
      draw();
    } catch (error) {
      if (!ended && mine === turn) put(body, trouble(error, load));
    }
  }

  function draw(changed = new Set()) {
    if (!rows.length) return put(body, empty(t(window_ === "trend" ? "counts.no.trend" : "counts.none")));
    const value = (row) => (window_ === "total" ? row.total : row.count);
    const most = Math.max(...rows.map(value), 1);
    put(body, since && h("p", { class: "dim" }, t("counts.since", { when: moment(since) })),
      h("ol", { class: "counts" }, rows.map((row) => h("li", { class: changed.has(`${row.keyword} ${row.intent}`) ? "changed" : "", "data-keyword": row.keyword },
        h("span", { class: "share", style: { width: `${(100 * value(row)) / most}%` }, "aria-hidden": "true" }),
        h("b", { lang: "zh" }, row.keyword), h("span", { class: "dim" }, intentName(row.intent)),
        h("span", { class: "n" }, window_ === "trend" ? t("counts.rise", { rise: `+${Number(row.rise).toFixed(1)}`, n: number(row.count), before: number(row.before) }) : number(value(row)))))));
  }

  const late = settle(load, 1500); // what is not in the list may have come into it; windows are counted by the server
  function listen() {
    source?.close();
    source = new EventSource(`${ROOT}/keywords/counts/stream${intent ? `?intent=${intent}` : ""}`);
    let opened = false;
    source.addEventListener("open", () => { state = "live"; drawHead(); if (opened) load(); opened = true; });
    source.addEventListener("error", () => {
      state = "away";
      drawHead();
      if (source.readyState === EventSource.CLOSED && !ended) timer = setTimeout(listen, AGAIN_MS);
    });
    let changed = new Set();
    const show = settle(() => { rows.sort((a, b) => b.total - a.total); draw(changed); changed = new Set(); }, 120);
    source.addEventListener("message", (event) => {
      if (window_ !== "total") return late();
      const { keyword, intent: of, total } = JSON.parse(event.data);
      const row = rows.find((one) => one.keyword === keyword && one.intent === of);
      if (row) row.total = total;
      else if (rows.length < SHOWN || total > rows.at(-1).total) rows = [...rows, { keyword, intent: of, total }].sort((a, b) => b.total - a.total).slice(0, SHOWN);
      else return undefined;
      changed.add(`${keyword} ${of}`);
      return show();
    });
  }

  drawHead();
  load();
  listen();
  return () => { ended = true; clearTimeout(timer); late.cancel(); source?.close(); };
}

/** The rules: what they are, how they did with users, and how they did on the questions that the serving version knows. */
function ruleList(box) {
  let rules = [], report = new Map(), text = "", intent = "", ended = false;
  const body = h("div", {}, loading());
  const search = h("input", { type: "search", "aria-label": t("filter.q"), placeholder: t("filter.q"), oninput: (event) => { text = event.target.value.trim(); draw(); } });
  box.append(h("div", { class: "row spread" }, h("h2", {}, t("rules.title")), button(t("rules.extract"), extract)),
    h("div", { class: "row filters-row" }, h("div", { class: "grow" }, search), select([["", t("any")], ...INTENTS.map((one) => [one, intentName(one)])], "", (value) => { intent = value; draw(); }, { "aria-label": t("filter.intent") })), body);

  async function load() {
    try {
      const [listed, models] = await Promise.all([get("/keywords", { limit: MOST }), get("/models").catch(() => null)]);
      rules = listed.keywords;
      if (models?.serving) {
        const told = await get(`/models/${encodeURIComponent(models.serving)}/rules`).catch(() => null);
        report = new Map((told?.rules ?? []).map((one) => [`${one.keyword} ${one.intent}`, one]));
      }
      if (!ended) draw();
    } catch (error) {
      if (!ended) put(body, trouble(error, load));
    }
  }

  function draw() {
    const found = rules.filter((one) => (!text || one.keyword.includes(text)) && (!intent || one.intent === intent));
    if (!found.length) return put(body, empty(t(rules.length ? "rules.nothing" : "rules.none")));
    const of = (one) => report.get(`${one.keyword} ${one.intent}`);
    put(body, table([
      { name: t("rules.keyword"), cell: (one) => [h("b", { lang: "zh" }, one.keyword), " → ", intentName(one.intent)] },
      { name: t("rules.boost"), kind: "number", cell: (one) => Number(one.confidence_boost).toFixed(2) },
      { name: t("rules.used"), kind: "number", cell: (one) => number(one.usage_count) },
      { name: t("rules.success"), kind: "number", cell: (one) => { const n = one.success_count + one.failure_count; return n ? `${percent(one.success_count / n, 0)} (${number(n)})` : "–"; } },
      { name: t("rules.coverage"), kind: "number", cell: (one) => percent(of(one)?.coverage, 2) },
      { name: t("rules.conflicts"), kind: "number", cell: (one) => percent(of(one)?.conflicts, 2) },
      { name: t("rules.accuracy"), kind: "number", cell: (one) => percent(of(one)?.accuracy, 0) },
      { name: t("rules.state"), cell: (one) => [badge(t(one.enabled ? "rules.on" : "rules.off"), one.enabled ? "good" : ""), " ", badge(t(`rules.${one.source === "manual" ? "manual" : "auto"}`)), one.retired_reason && h("small", { class: "dim" }, one.retired_reason)] },
    ], found.slice(0, 200), { caption: t("rules.title"), stack: true }), h("p", { class: "dim" }, t("rules.shown", { n: number(Math.min(200, found.length)), m: number(found.length) })));
  }

  async function extract() {
    const least = h("input", { type: "number", min: "0", max: "100", value: "", placeholder: "90" });
    const most = h("input", { type: "number", min: "1", max: "10000", value: "1000", required: true });
    const element = h("div", { class: "column" }, field(t("extract.least"), least), field(t("extract.most"), most));
    const more = () => ({ element, read: () => ({ least: least.value, most: most.value }) });
    const said = await confirm(t("extract.title"), [t("extract.what")], { yes: t("rules.extract"), more });
    if (!said) return;
    const query = new URLSearchParams({ limit: said.most, ...(said.least === "" ? {} : { min_confidence: String(Number(said.least) / 100) }) });
    const made = await attempt(() => post(`/keywords/extract?${query}`), t("extract.done"));
    if (made) location.hash = `#/trainings/${made.batch_id}`;
  }

  load();
  return () => { ended = true; };
}
