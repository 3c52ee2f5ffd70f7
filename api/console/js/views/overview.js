// 总览: the four groups of figures, LLM calls and accuracy per version in front, and what needs attention now.

import { get } from "../api.js";
import { bars } from "../charts.js";
import { h, put, settle } from "../dom.js";
import { duration, number, percent, t } from "../i18n.js";
import { INTENTS, intentName, methodName } from "../intents.js";
import { follow } from "../live.js";
import { badge, card, figure, loading, table, trouble } from "../ui.js";

const FEW_LABELS = 10;
const KINDS = ["disagreement", "flag", "suspect"];

/** What `work` resolves to, or null: a part of the page that may be missing does not break the others. */
const maybe = (work) => work.catch(() => null);

export function mount(root) {
  const stage = h("div", {}, loading());
  root.append(stage);
  let ended = false;

  async function load() {
    try {
      const [stats, models, rollout, batches, progress, reviews] = await Promise.all([
        get("/stats"), maybe(get("/models")), maybe(get("/rollout")), maybe(get("/batches", { limit: 20 })), maybe(get("/progress")),
        Promise.all(KINDS.map((kind) => maybe(get("/review", { kind, limit: 1 })))),
      ]);
      if (!ended) put(stage, draw({ stats, models, rollout, batches: batches?.batches ?? [], progress, reviews }));
    } catch (error) {
      if (!ended) put(stage, trouble(error, load));
    }
  }

  const soon = settle(load, 500);
  const end = follow(["label", "batch", "model", "rollout", "progress"], soon);
  load();
  return () => { ended = true; soon.cancel(); end(); };
}

function draw(seen) {
  const { stats } = seen;
  return [
    h("div", { class: "grid front" }, effectCard(seen), attentionCard(seen)),
    h("div", { class: "grid" }, dataCard(stats.data_quality), methodsCard(stats.model_effect)),
    h("div", { class: "grid" }, trainingCard(stats.training), rulesCard(stats.rules)),
  ];
}

/** Versions in the order in which they were made, as far as that is known. */
function inOrder({ stats, models }) {
  const made = (models?.models ?? []).map((one) => one.version).reverse();
  return Object.entries(stats.model_effect.versions).sort(([a], [b]) => made.indexOf(a) - made.indexOf(b));
}

function effectCard(seen) {
  const { overall } = seen.stats.model_effect;
  const versions = inOrder(seen);
  const serving = seen.rollout?.serving?.version ?? seen.models?.serving;
  const colour = (version) => (version === serving ? "var(--accent)" : "var(--serving)");
  const chart = (key, name) => h("div", { class: "chart-box" }, h("h3", {}, name),
    bars(versions.map(([version, one]) => ({ name: version, value: one[key], shown: percent(one[key]), colour: colour(version) })), { name, most: 1 }));
  return card(t("overview.effect"),
    h("div", { class: "figures" },
      figure(percent(overall.llm_call_rate), t("overview.llm"), t("overview.of", { n: number(overall.answered) })),
      figure(percent(overall.accuracy), t("overview.accuracy"), t("overview.of.labels", { n: number(overall.labeled) })),
      figure(overall.mean_response_time_ms === null ? "–" : `${overall.mean_response_time_ms.toFixed(1)} ms`, t("overview.time")),
      figure(serving ?? "–", t("overview.serving"))),
    versions.length > 0 && h("div", { class: "charts" }, chart("llm_call_rate", t("overview.llm.versions")), chart("accuracy", t("overview.accuracy.versions"))),
    versions.length > 0 && h("details", {}, h("summary", {}, t("overview.table")), table([
      { name: t("table.version"), cell: ([version]) => version },
      { name: t("overview.answered"), kind: "number", cell: ([, one]) => number(one.answered) },
      { name: t("overview.llm"), kind: "number", cell: ([, one]) => percent(one.llm_call_rate) },
      { name: t("overview.labeled"), kind: "number", cell: ([, one]) => number(one.labeled) },
      { name: t("overview.accuracy"), kind: "number", cell: ([, one]) => percent(one.accuracy) },
      { name: t("overview.time"), kind: "number", cell: ([, one]) => (one.mean_response_time_ms === null ? "–" : `${one.mean_response_time_ms.toFixed(1)} ms`) },
    ], versions, { caption: t("overview.effect") })));
}

/** What somebody should look at: `[kind, text, where]`, the worst first. */
export function attention({ stats, rollout, batches, progress, reviews }) {
  const found = [];
  if (rollout === null) found.push(["bad", t("attention.no.rollout"), "models"]);
  else {
    if (rollout.live === 0) found.push(["bad", t("attention.no.replica"), "models"]);
    else if (rollout.state === "degraded") found.push(["bad", t("attention.degraded", { who: rollout.late.join(t("list.comma")) }), "models"]);
    else if (!rollout.done) found.push(["info", t("attention.rolling", { version: rollout.wanted_version ?? "" }), "models"]);
    const { candidate, comparison } = rollout;
    if (candidate) {
      const verdict = comparison?.verdict ?? "unknown";
      found.push([{ better: "good", worse: "bad" }[verdict] ?? "info", t(`attention.candidate.${verdict}`, { version: candidate.version, n: number(comparison?.labels_missing ?? 0) }), "models"]);
    }
  }
  const last = batches.find((one) => one.training_status !== "cancelled");
  if (last?.training_status === "failed") found.push(["bad", t("attention.failed", { why: last.error_message ?? "" }), `trainings/${last.batch_id}`]);
  if (last?.training_status === "rejected") found.push(["warn", t("attention.rejected", { version: last.model_version ?? "" }), `trainings/${last.batch_id}`]);
  if (last?.training_status === "training") found.push(["info", t("attention.training"), `trainings/${last.batch_id}`]);
  const waits = batches.filter((one) => one.training_status === "pending" && !one.requested);
  if (waits.length) found.push(["warn", t("attention.pending", { n: waits.length }), `trainings/${waits[0].batch_id}`]);
  KINDS.forEach((kind, place) => { if (reviews[place]?.items?.length) found.push(["warn", t(`attention.${kind}`), `review/${kind}`]); });
  const few = INTENTS.filter((intent) => (stats.data_quality.per_intent[intent] ?? 0) < FEW_LABELS);
  if (few.length) found.push(["warn", t(few.length > 4 ? "attention.few.many" : "attention.few", { n: FEW_LABELS, m: few.length, intents: few.map(intentName).join(t("list.comma")) }), "label"]);
  if (stats.data_quality.without_stated_consent > 0) found.push(["warn", t("attention.consent", { n: number(stats.data_quality.without_stated_consent) }), null]);
  if (progress && progress.missing > 0) found.push(["info", t("attention.progress", { n: number(progress.missing) }), "label"]);
  const order = { bad: 0, warn: 1, good: 2, info: 3 };
  return found.sort((a, b) => order[a[0]] - order[b[0]]);
}

function attentionCard(seen) {
  const found = attention(seen);
  return card(t("attention.title"), found.length
    ? h("ul", { class: "attention" }, found.map(([kind, text, where]) => h("li", { class: kind },
      h("span", { class: "mark", "aria-hidden": "true" }, { bad: "!", warn: "!", good: "✓", info: "i" }[kind]),
      where ? h("a", { href: `#/${where}` }, text) : h("span", {}, text))))
    : h("p", { class: "empty" }, t("attention.none")));
}

function dataCard(data) {
  const most = Math.max(...Object.values(data.per_intent), 1);
  const rows = INTENTS.map((intent) => ({
    name: intentName(intent), value: data.per_intent[intent] ?? 0, shown: number(data.per_intent[intent] ?? 0),
    colour: (data.per_intent[intent] ?? 0) < FEW_LABELS ? "var(--candidate)" : "var(--serving)",
  }));
  return card(t("overview.data"), h("div", { class: "figures" },
    figure(number(data.total), t("overview.questions")), figure(number(data.labeled), t("overview.labeled")),
    figure(percent(data.label_rate), t("overview.label.rate")), figure(number(data.skipped), t("overview.skipped"))),
  h("h3", {}, t("overview.per.intent")), bars(rows, { name: t("overview.per.intent"), most }));
}

function methodsCard(effect) {
  const rows = Object.entries(effect.methods);
  return card(t("overview.methods"), h("p", { class: "dim" }, t("overview.methods.why")),
    bars(rows.map(([method, one]) => ({ name: methodName(method), value: one.accuracy, shown: percent(one.accuracy) })), { name: t("overview.methods"), most: 1 }),
    table([
      { name: t("table.method"), cell: ([method]) => methodName(method) },
      { name: t("overview.labeled"), kind: "number", cell: ([, one]) => number(one.labeled) },
      { name: t("overview.correct"), kind: "number", cell: ([, one]) => number(one.correct) },
      { name: t("overview.accuracy"), kind: "number", cell: ([, one]) => percent(one.accuracy) },
    ], rows, { caption: t("overview.methods") }));
}

function trainingCard(training) {
  const kinds = { completed: "good", rejected: "warn", failed: "bad", training: "info", pending: "info" };
  return card(t("overview.training"), h("div", { class: "figures" },
    figure(number(training.total), t("overview.batches")), figure(percent(training.success_rate), t("overview.success")),
    figure(percent(training.latest_accuracy), t("overview.latest"), training.latest_version ?? ""), figure(duration(training.mean_duration_sec), t("overview.duration"))),
  training.total > 0 && h("p", { class: "row" }, Object.entries(training.batches).filter(([, n]) => n > 0).map(([status, n]) => badge(`${t(`batch.${status}`)} ${n}`, kinds[status]))));
}

function rulesCard(rules) {
  return card(t("overview.rules"), h("div", { class: "figures" },
    figure(number(rules.enabled), t("overview.enabled"), t("overview.of.rules", { n: number(rules.total) })), figure(number(rules.usage), t("overview.usage")),
    figure(percent(rules.success_rate), t("overview.rule.success"), t("overview.right.wrong", { right: number(rules.success), wrong: number(rules.failure) }))));
}
