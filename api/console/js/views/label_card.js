// One question: its text, what the model said, the intents, the time it asks about, and what can be done.

import { h, put } from "../dom.js";
import { moment, percent, t, word } from "../i18n.js";
import { INTENTS, intentName, intentNames, methodName, TIMES, usualYears, writeYears, yearOf } from "../intents.js";
import { shown } from "../keys.js";
import { badge, empty, loading, select, trouble } from "../ui.js";

/** Draw the current question of `work` into `stage`; `acts` is what its buttons do. */
export function drawCard(stage, work, acts) {
  const item = work.current;
  if (!item) {
    const state = { loading: () => loading(), empty: () => nothing(), away: () => empty(t("label.away")), failed: () => trouble(work.error, () => work.fill()) };
    put(stage, h("div", { class: "card blank" }, state[work.state]?.() ?? loading(), work.history.length > 0 && undoButton(acts)));
    return;
  }
  const { draft } = work;
  put(stage, h("article", { class: "card question-card", "aria-label": t("label.question", { id: item.id }) },
    h("div", { class: "row meta" },
      h("span", {}, `#${item.id}`), item.asked_at && h("span", {}, moment(item.asked_at)),
      item.group_size > 1 && badge(t("label.copies", { n: item.group_size }), "info"),
      item.blind && badge(t("label.blind"), "warn")),
    h("p", { class: "question", tabindex: "-1", lang: "zh" }, item.question),
    item.blind ? h("p", { class: "hint" }, t("label.blind.why")) : model(item.prediction),
    h("div", { class: "intents", role: "group", "aria-label": t("label.intents") },
      INTENTS.map((intent) => intentButton(intent, draft, item, acts))),
    timeRow(item, draft, acts),
    h("div", { class: "row actions" },
      action("accept", acts.accept, "primary"), action("skip", () => acts.pass("skip")),
      action("postpone", () => acts.pass("postpone")), action("flag", acts.flag), undoButton(acts, !work.history.length))));
}

function nothing() {
  return h("div", { class: "empty" }, h("p", { class: "big" }, t("label.empty")), h("p", {}, t("label.empty.why")));
}

function action(what, onclick, kind = "") {
  return h("button", { type: "button", class: kind, onclick, "data-focus": what, "aria-keyshortcuts": shown(what) },
    t(`key.${what}`), h("kbd", { "aria-hidden": "true" }, shown(what)));
}

const undoButton = (acts, disabled = false) => {
  const made = action("undo", acts.undo);
  made.disabled = disabled;
  return made;
};

function model(said) {
  if (!said) return h("p", { class: "hint" }, t("label.unclassified"));
  const rules = said.matched_rules ?? [];
  const sure = said.confidence === null || said.confidence === undefined ? null : Number(said.confidence);
  return h("div", { class: "model", role: "group", "aria-label": t("label.model") },
    h("div", { class: "row" },
      h("span", { class: "dim" }, t("label.model.says", { version: said.model_version ?? "–" })),
      h("b", {}, intentNames(said.intents)),
      sure !== null && h("span", { class: "sure" },
        h("span", { class: "meter", "aria-hidden": "true" }, h("span", { style: { width: percent(sure, 0) } })), percent(sure, 0)),
      badge(methodName(said.method))),
    rules.length > 0 && h("div", { class: "row rules" }, h("span", { class: "dim" }, t("label.rules")),
      rules.slice(0, 12).map((rule) => h("span", { class: "chip" }, `${rule.keyword} → ${intentName(rule.intent)}`))),
    said.reasoning && h("p", { class: "dim reasoning" }, said.reasoning));
}

function intentButton(intent, draft, item, acts) {
  const on = draft.intents.includes(intent);
  const guessed = !item.blind && item.prediction?.intents?.includes(intent);
  const key = shown(`intent.${intent}`);
  return h("button", {
    type: "button", class: "intent", "aria-pressed": String(on), "data-focus": `intent-${intent}`, "data-intent": intent,
    "aria-keyshortcuts": key, onclick: () => acts.toggle(intent),
    onkeydown: (event) => {
      if (event.key !== "Enter") return; // Enter accepts, wherever among the intents the focus is; the space bar presses
      event.preventDefault();
      event.stopPropagation();
      if (!event.repeat) acts.accept();
    },
  }, h("kbd", { "aria-hidden": "true" }, key), h("span", { class: "name" }, intentName(intent)),
  guessed && h("span", { class: "dot", title: t("label.guessed"), role: "img", "aria-label": t("label.guessed") }));
}

function timeRow(item, draft, acts) {
  const { time } = draft;
  const years = h("input", {
    type: "text", class: "years", inputmode: "numeric", value: time.years, disabled: !time.type, "aria-label": t("time.years"),
    placeholder: t("time.years"), "data-focus": "time-years",
    oninput: (event) => { time.years = event.target.value; },
    onkeydown: (event) => { if (event.key === "Enter" || event.key === "Escape") leave(event); },
  });
  const types = select([["", t("time.none")], ...TIMES.map((type) => [type, word(`time.${type}`, type)])], time.type, (type) => {
    time.type = type;
    time.years = type ? writeYears(usualYears(type, yearOf(item.asked_at))) : "";
    time.explicit = Boolean(type);
    time.description = "";
    acts.draw();
  }, { "aria-label": t("time.type"), "data-focus": "time-type", onkeydown: (event) => { if (event.key === "Escape") leave(event); } });
  return h("div", { class: "row time", role: "group", "aria-label": t("time.title") },
    h("span", { class: "dim" }, t("time.title"), " ", h("kbd", { "aria-hidden": "true" }, shown("time"))), types, years,
    h("label", { class: "check" }, h("input", {
      type: "checkbox", checked: time.explicit, disabled: !time.type, "data-focus": "time-explicit",
      onchange: (event) => { time.explicit = event.target.checked; },
    }), t("time.explicit")));
}

/** Back from a field to the question: its keys work again. */
function leave(event) {
  event.preventDefault();
  event.stopPropagation();
  event.target.closest(".question-card")?.querySelector(".question").focus();
}

export function focusTime(stage) {
  stage.querySelector(".time select")?.focus();
}
