// Beside the question: how far the next training is, what I did, and the guidelines with examples.

import { get, labeler } from "../api.js";
import { h, put, settle } from "../dom.js";
import { number, t } from "../i18n.js";
import { INTENTS, intentName } from "../intents.js";
import { shown } from "../keys.js";
import { follow } from "../live.js";
import { outbox } from "../outbox.js";
import { trouble } from "../ui.js";

const LOOK_MS = 30000;
let guidelines = null; // they do not change while the page lives

export function side() {
  const progress = h("section", { class: "card progress", "aria-label": t("progress.title") });
  const guide = h("details", { class: "card guide", open: matchMedia("(min-width: 1000px)").matches },
    h("summary", {}, t("guide.title")));
  const body = h("div", { class: "guide-body" });
  guide.append(body);
  const element = h("aside", { class: "side" }, progress, guide);
  let told = null;
  let ahead = 0; // decisions of mine that the last answer did not count yet

  async function load() {
    try {
      told = await get("/progress", { labeler: labeler() });
      ahead = outbox.waiting().length;
      draw();
    } catch (error) {
      if (told === null) put(progress, h("h2", {}, t("progress.title")), trouble(error));
    }
  }

  function draw() {
    if (told === null) return;
    const { threshold, ready, mine } = told;
    const short = Object.entries(told.per_intent ?? {}).map(([intent, one]) => ({ intent, ...one, lacks: one.need - one.have }))
      .filter((one) => one.lacks > 0).sort((a, b) => b.lacks - a.lacks);
    put(progress, h("h2", {}, t("progress.title")),
      h("p", { class: "count" }, h("b", {}, number(ready)), ` / ${number(threshold)}`, h("span", { class: "dim" }, told.missing > 0 ? t("progress.missing", { n: number(told.missing) }) : t("progress.reached"))),
      h("progress", { max: String(threshold), value: String(Math.min(ready, threshold)), "aria-label": t("progress.title") }),
      short.length > 0 && h("div", { class: "short" }, h("span", { class: "dim" }, t("progress.short")),
        h("ul", {}, short.map((one) => h("li", {}, intentName(one.intent), " ", h("b", {}, `${one.have}/${one.need}`))))),
      h("dl", { class: "mine" },
        pair(t("progress.today"), number(Math.max(0, (mine?.today ?? 0) + ahead))), pair(t("progress.total"), number(Math.max(0, (mine?.total ?? 0) + ahead))),
        pair(t("progress.speed"), mine?.per_hour ? t("progress.per.hour", { n: number(Math.round(mine.per_hour)) }) : "–"),
        pair(t("progress.team"), number(told.team_today))));
  }

  async function loadGuidelines() {
    try {
      guidelines ??= await get("/guidelines");
      put(body, guidelines.intents.map((one) => rule(one)), borders(guidelines.border_cases ?? []));
    } catch (error) {
      put(body, trouble(error, loadGuidelines));
    }
  }

  const soon = settle(load, 1200);
  const ends = [follow(["label", "progress", "batch"], soon)];
  const timer = setInterval(load, LOOK_MS);
  load();
  loadGuidelines();
  return {
    element,
    /** A decision was made, or taken back: count it at once, and ask soon. */
    labeled(step = 1) { ahead += step; draw(); soon(); },
    show(item) {
      const likely = new Set(item.blind ? [] : item.prediction?.intents ?? []);
      for (const one of body.querySelectorAll("details")) one.classList.toggle("likely", likely.has(one.dataset.intent));
    },
    toggle() { guide.open = !guide.open; if (guide.open) guide.querySelector("summary").focus(); },
    end() { ends.forEach((end) => end()); clearInterval(timer); soon.cancel(); },
  };
}

const pair = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

function rule(one) {
  const known = INTENTS.includes(one.name);
  return h("details", { "data-intent": one.name },
    h("summary", {}, known && h("kbd", { "aria-hidden": "true" }, shown(`intent.${one.name}`)), " ", h("b", {}, intentName(one.name)), " ",
      h("span", { class: "dim", lang: "zh" }, one.guideline)),
    one.examples?.length > 0 && h("ul", { class: "examples" }, one.examples.map((text) => h("li", { lang: "zh" }, text))));
}

function borders(cases) {
  if (!cases.length) return null;
  return h("details", {}, h("summary", {}, t("guide.borders")), h("ul", {}, cases.map((one) => h("li", { lang: "zh" }, one))));
}
