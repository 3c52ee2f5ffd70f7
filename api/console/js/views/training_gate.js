// The gate's verdict on a candidate, and the figures behind it, as the batch's metrics keep them.

import { heat, legend, lines } from "../charts.js";
import { h } from "../dom.js";
import { number, percent, t } from "../i18n.js";
import { INTENTS, intentName, intentNames } from "../intents.js";
import { badge, table } from "../ui.js";

export function evidence(metrics) {
  if (!metrics?.gate) return null;
  const { gate } = metrics;
  return h("div", { class: "gate" },
    h("h3", {}, t("gate.title"), " ", badge(t(gate.passed ? "models.passed" : "models.not.passed"), gate.passed ? "good" : "bad")),
    h("ul", {}, (gate.reasons ?? []).map((reason) => h("li", {}, reason))),
    metrics.candidate?.per_intent && scores(metrics),
    metrics.golden && h("p", { class: "dim" }, t("gate.golden", { n: number(metrics.golden.questions), wrong: number(metrics.golden.wrong.length) })),
    metrics.confusion && h("details", { "data-name": "confusion" }, h("summary", {}, t("gate.confusion")),
      h("p", { class: "dim" }, t("gate.confusion.why")), heat(metrics.confusion, INTENTS.map(intentName), { name: t("gate.confusion"), rows: t("gate.truth"), columns: t("gate.answer") })),
    metrics.reliability?.length > 0 && reliability(metrics.reliability),
    metrics.changed?.length > 0 && changes(metrics.changed));
}

function scores({ serving, candidate, milliseconds }) {
  const f1 = (scored, intent) => scored?.per_intent?.[intent]?.f1;
  const difference = (intent) => {
    const [before, after] = [f1(serving, intent), f1(candidate, intent)];
    if (before === undefined || after === undefined) return "–";
    const points = 100 * (after - before);
    return h("span", { class: points < -0.05 ? "down" : points > 0.05 ? "up" : "" }, `${points >= 0 ? "+" : ""}${points.toFixed(1)}`);
  };
  const whole = [["macro_f1", t("gate.macro")], ["accuracy", t("gate.exact")], ["calibration_error", t("gate.calibration")]];
  const rows = [
    ...whole.filter(([key]) => typeof candidate[key] === "number").map(([key, name]) => ({ name, support: candidate.rows, before: serving?.[key], after: candidate[key], difference: serving && typeof serving[key] === "number" ? `${candidate[key] >= serving[key] ? "+" : ""}${(100 * (candidate[key] - serving[key])).toFixed(1)}` : "–", bold: true })),
    ...INTENTS.filter((intent) => candidate.per_intent[intent]).map((intent) => ({ name: `F1 ${intentName(intent)}`, support: candidate.per_intent[intent].support, before: f1(serving, intent), after: f1(candidate, intent), difference: difference(intent) })),
  ];
  return [table([
    { name: t("gate.what"), cell: (row) => (row.bold ? h("b", {}, row.name) : row.name) },
    { name: t("gate.rows"), kind: "number", cell: (row) => number(row.support) },
    { name: t("gate.before"), kind: "number", cell: (row) => percent(row.before) },
    { name: t("gate.after"), kind: "number", cell: (row) => percent(row.after) },
    { name: t("gate.difference"), kind: "number", cell: (row) => row.difference },
  ], rows, { caption: t("gate.title") }), typeof milliseconds === "number" && h("p", { class: "dim" }, t("gate.time", { n: milliseconds.toFixed(1) }))];
}

function reliability(bins) {
  const points = bins.map((one) => [one.confidence, one.right]).filter(([x, y]) => typeof x === "number" && typeof y === "number");
  if (points.length < 2) return null;
  const ends = [[points[0][0], points[0][0]], [points.at(-1)[0], points.at(-1)[0]]];
  return h("details", { "data-name": "reliability" }, h("summary", {}, t("gate.reliability")), h("p", { class: "dim" }, t("gate.reliability.why")),
    lines([{ name: t("gate.ideal"), colour: "var(--line-strong)", dash: "5 5", points: ends }, { name: t("gate.seen"), colour: "var(--accent)", points }], { name: t("gate.reliability"), format: (value) => percent(value, 0), top: 1, xs: points.map(([x]) => [x, percent(x, 0)]).filter((_, place) => place % 2 === 0) }),
    legend([[t("gate.ideal"), "var(--line-strong)"], [t("gate.seen"), "var(--accent)"]]));
}

function changes(changed) {
  return h("details", { "data-name": "changed" }, h("summary", {}, t("gate.changed", { n: number(changed.length) })),
    table([
      { name: t("gate.label"), cell: (one) => intentNames(one.intents) },
      { name: t("gate.before"), cell: (one) => intentNames(one.before) },
      { name: t("gate.after"), cell: (one) => intentNames(one.after) },
      { name: "", cell: (one) => badge(t(one.right ? "gate.became.right" : "gate.became.wrong"), one.right ? "good" : "bad") },
      { name: t("gate.hash"), cell: (one) => h("code", {}, one.text_hash.slice(0, 10)) },
    ], changed.slice(0, 50), { caption: t("gate.changed", { n: changed.length }), stack: true }));
}
