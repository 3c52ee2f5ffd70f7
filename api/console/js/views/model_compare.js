// How a candidate does beside the version that serves, with its verdict in words of the page's language.

import { h } from "../dom.js";
import { number, percent, t } from "../i18n.js";
import { badge, card, empty, table } from "../ui.js";

const points = (share) => `${share >= 0 ? "+" : ""}${(100 * share).toFixed(1)}`;
const share = (told) => (told ? [percent(told.value), h("small", { class: "dim" }, ` ${percent(told.low, 0)}–${percent(told.high, 0)}`)] : "–");
const time = (value) => (value === null || value === undefined ? "–" : `≤ ${number(value)} ms`);

export function comparisonCard({ comparison, candidate }) {
  if (!comparison) return card(t("compare.title"), empty(t("compare.none")));
  const kind = { better: "good", worse: "bad", unknown: "info" }[comparison.verdict];
  const between = comparison.accuracy_difference;
  const rows = [
    ["compare.answered", (one) => number(one.answered)],
    ["compare.accuracy", (one) => share(one.accuracy)],
    ["compare.llm", (one) => percent(one.llm_call_rate)],
    ["compare.unsure", (one) => share(one.unsure_rate)],
    ["compare.errors", (one) => share(one.error_rate)],
    ["compare.confidence", (one) => percent(one.mean_confidence)],
    ["compare.p50", (one) => time(one.p50_ms)],
    ["compare.p99", (one) => time(one.p99_ms)],
  ];
  return card(t("compare.title"),
    h("div", { class: "row verdict" }, badge(t(`compare.${comparison.verdict}`), kind),
      h("span", {}, t("compare.pairs", { n: number(comparison.pairs) })),
      between && h("span", {}, t("compare.difference", { d: points(between.value), low: points(between.low), high: points(between.high) })),
      comparison.labels_missing > 0 && h("span", { class: "dim" }, t("compare.missing", { n: number(comparison.labels_missing) }))),
    table([
      { name: "", cell: ([key]) => t(key) },
      { name: `${t("models.serving")} ${comparison.serving.version}`, kind: "number", cell: ([, show]) => show(comparison.serving) },
      { name: `${t("models.candidate")} ${candidate.version}`, kind: "number", cell: ([, show]) => show(comparison.candidate) },
    ], rows, { caption: t("compare.title") }),
    comparison.agreement && h("p", { class: "dim" }, `${t("compare.agreement")}: ${percent(comparison.agreement.value)} (${number(comparison.agreement.compared)})`));
}
