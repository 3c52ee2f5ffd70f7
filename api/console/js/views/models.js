// 模型: which versions there are, which answer, how a candidate does, and changing it.

import { get } from "../api.js";
import { h, put, settle } from "../dom.js";
import { ago, moment, number, percent, t } from "../i18n.js";
import { follow } from "../live.js";
import { badge, button, card, empty, loading, table, trouble } from "../ui.js";
import { acts } from "./model_acts.js";
import { comparisonCard } from "./model_compare.js";

const LOOK_MS = 2000;

export function mount(root) {
  const stage = h("div", {}, loading());
  root.append(stage);
  let seen = null, shown = "", ended = false, timer = 0;

  async function load() {
    clearTimeout(timer);
    try {
      const [models, rollout, history] = await Promise.all([
        get("/models"), get("/rollout").catch((error) => ({ error })), get("/models/activations"),
      ]);
      seen = { models: models.models, rollout, history: history.activations };
      draw();
    } catch (error) {
      if (!ended && seen === null) put(stage, trouble(error, load));
    }
    if (!ended) timer = setTimeout(load, LOOK_MS);
  }

  function draw() {
    if (ended) return;
    const told = JSON.stringify(seen, (key, value) => (["seen_at", "compared_at"].includes(key) ? undefined : value));
    const busy = stage.contains(document.activeElement) && document.activeElement !== document.body;
    if (told === shown && !busy) {
      for (const cell of stage.querySelectorAll("[data-seen]")) cell.textContent = ago(seen.rollout.replicas?.find((one) => one.replica_id === cell.dataset.seen)?.seen_at);
      return;
    }
    if (told === shown) return;
    shown = told;
    const focus = document.activeElement?.dataset?.focus;
    put(stage, page(seen, load));
    if (focus) stage.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
  }

  const soon = settle(load, 200);
  const end = follow(["model", "rollout"], soon);
  load();
  return () => { ended = true; clearTimeout(timer); soon.cancel(); end(); };
}

function page(seen, load) {
  const { rollout } = seen;
  if (rollout.error) return [trouble(rollout.error), versionsCard(seen, load), historyCard(seen)];
  return [
    h("div", { class: "grid two" }, nowCard(seen, load), replicasCard(rollout)),
    rollout.candidate && comparisonCard(rollout),
    versionsCard(seen, load), historyCard(seen),
  ];
}

function nowCard(seen, load) {
  const { serving, candidate, state } = seen.rollout;
  const act = acts(seen, load);
  if (!serving) return card(t("models.now"), empty(t("models.nothing")));
  const kind = { done: "good", rolling: "info", degraded: "bad" }[state];
  return card(t("models.now"),
    h("div", { class: "row spread" }, h("b", { class: "huge" }, serving.version), badge(t(`rollout.${state}`), kind)),
    h("p", { class: "dim" }, t("models.generation", { n: serving.generation }), " · ", moment(serving.activated_at), h("br"), t("models.by", { who: serving.activated_by, why: serving.reason })),
    candidate && h("div", { class: "candidate" },
      h("div", { class: "row spread" }, h("span", {}, `${t("models.candidate")} `, h("b", {}, candidate.version)), badge(modeOf(candidate), "warn")),
      h("p", { class: "dim" }, moment(candidate.activated_at), " · ", t("models.by", { who: candidate.activated_by, why: candidate.reason }))),
    h("div", { class: "row" },
      candidate && button(t("models.promote"), () => act.promote(candidate.version), { class: "primary", "data-focus": "promote" }),
      button(t("models.rollback"), act.rollback, { class: "danger", "data-focus": "rollback", disabled: !candidate && seen.history.every((one) => one.version === serving.version) })));
}

const modeOf = (row) => (row.mode === "shadow" ? t("models.shadow") : row.traffic < 100 ? t("models.canary", { n: row.traffic }) : t("history.all"));

function replicasCard(rollout) {
  const live = rollout.replicas.filter((one) => one.live);
  const gone = rollout.replicas.length - live.length;
  const wantsBeside = rollout.candidate !== null;
  return card(t("models.replicas"), live.length === 0 ? empty(t("models.no.replicas")) : table([
    { name: t("models.replica"), cell: (one) => h("span", { title: one.url }, one.replica_id) },
    { name: t("models.loaded"), cell: (one) => [h("b", { class: one.loaded_version === rollout.wanted_version ? "" : "behind" }, one.loaded_version ?? "–"), one.loaded_version !== rollout.wanted_version && h("small", { class: "dim" }, ` → ${rollout.wanted_version ?? "–"}`)] },
    ...(wantsBeside ? [{ name: t("models.candidate"), cell: (one) => (one.candidate ? `${one.candidate.version}${one.candidate.state === "loaded" ? "" : ` (${t("replica.load_failed")})`}` : "–") }] : []),
    { name: t("models.state"), cell: (one) => [badge(t(`replica.${one.state}`), one.state === "loaded" ? "good" : "bad"), one.stale && badge(t("models.stale"), "warn"), (one.error || one.candidate?.error) && h("small", { class: "error" }, one.error ?? one.candidate.error)] },
    { name: t("models.seen"), cell: (one) => h("span", { "data-seen": one.replica_id }, ago(one.seen_at)) },
  ], live, { stack: true, caption: t("models.replicas") }), gone > 0 && h("small", { class: "dim" }, `${t("models.gone")}: ${gone}`));
}

function versionsCard(seen, load) {
  const act = acts(seen, load);
  const { serving, candidate } = seen.rollout;
  const columns = [
    { name: t("models.version"), cell: (one) => [h("b", {}, one.version), " ",
      one.version === serving?.version && badge(t("models.serving"), "good"), one.version === candidate?.version && badge(modeOf(candidate), "warn")] },
    { name: t("models.gate"), cell: (one) => badge(t(one.gate_passed ? "models.passed" : "models.not.passed"), one.gate_passed ? "good" : "bad") },
    { name: t("models.accuracy"), kind: "number", cell: (one) => percent(one.accuracy) },
    { name: t("models.questions"), kind: "number", cell: (one) => number(one.question_count) },
    { name: t("models.parent"), cell: (one) => one.parent_version ?? "–" },
    { name: t("models.made"), cell: (one) => moment(one.created_at) },
    { name: t("models.actions"), cell: (one) => {
      const small = (what, onclick) => button(t(`models.${what}`), onclick, { class: "small", "data-focus": `${what}-${one.version}`, "aria-label": `${t(`models.${what}`)} ${one.version}` });
      return h("div", { class: "row tight" },
        one.version !== serving?.version && small("activate", () => act.activate(one)),
        one.version !== serving?.version && serving && small("try", () => act.attempt(one)),
        one.version === candidate?.version && small("promote", () => act.promote(one.version)),
        one.version !== serving?.version && serving && small("rescore", () => act.rescore(one.version)),
        small("card", () => act.card(one.version)));
    } },
  ];
  return card(t("models.versions"), table(columns, seen.models, { stack: true, caption: t("models.versions") }));
}

function historyCard(seen) {
  const kinds = { better: "good", worse: "bad", unknown: "" };
  return card(t("history.title"), table([
    { name: t("history.when"), cell: (one) => moment(one.activated_at) },
    { name: t("models.version"), cell: (one) => h("b", {}, one.version) },
    { name: t("history.what"), cell: modeOf },
    { name: t("history.who"), cell: (one) => one.activated_by },
    { name: t("history.why"), kind: "text", cell: (one) => one.reason },
    { name: t("history.verdict"), cell: (one) => (one.verdict ? badge(t(`compare.${one.verdict}`), kinds[one.verdict]) : "") },
  ], seen.history.slice(0, 100), { stack: true, caption: t("history.title") }));
}
