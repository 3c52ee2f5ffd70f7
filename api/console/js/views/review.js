// 复核: disagreements, flags and suspected errors, and how far people agree.

import { get, labeler, post } from "../api.js";
import { h, isTyping, put, settle } from "../dom.js";
import { moment, number, t } from "../i18n.js";
import { INTENTS, intentName, intentNames, toggled } from "../intents.js";
import { doneBy, pressed, shown, showKeys } from "../keys.js";
import { follow } from "../live.js";
import { attempt, badge, button, card, empty, field, loading, segments, table, toast, trouble } from "../ui.js";

const KINDS = ["", "disagreement", "flag", "suspect"];
const PAGE = 20;

export function mount(root, [chosen]) {
  let kind = KINDS.includes(chosen) ? chosen : "", items = [], cursor = null, turn = 0, ended = false;
  let draft = null; // what the reviewer would say about the first item
  const head = h("div", { class: "row spread head" });
  const stage = h("div", {}, loading());
  const agreement = h("div", {}, loading());
  root.append(head, h("div", { class: "grid review-grid" }, stage, agreement));

  function drawHead() {
    put(head, segments(KINDS.map((one) => [one, t(one ? `review.${one}` : "any")]), kind, (value) => { kind = value; drawHead(); load(); }, t("review.kind")),
      button(t("keys.show"), showKeys, { class: "plain" }));
  }

  async function load(more = false) {
    const mine = ++turn;
    try {
      const told = await get("/review", { kind, cursor: more ? cursor : null, limit: PAGE });
      if (ended || mine !== turn) return;
      const first = items[0]?.id;
      items = more ? [...items, ...told.items] : told.items;
      cursor = told.next_cursor;
      if (items[0]?.id !== first || draft === null) draft = items[0] ? { intents: [...(items[0].current ?? items[0].answers?.[0]?.intents ?? [])], comment: "" } : null;
      draw();
    } catch (error) {
      if (!ended && mine === turn) put(stage, trouble(error, load));
    }
  }

  function draw() {
    const [item] = items;
    if (!item) return put(stage, card(null, empty(t("review.none"))));
    put(stage, itemCard(item), items.length > 1 && card(t("review.next"), h("ul", { class: "waiting" },
      items.slice(1).map((one) => h("li", {}, badge(t(`review.${one.kind}`)), " ", h("span", { lang: "zh" }, one.question)))), cursor && button(t("table.more"), () => load(true))));
  }

  function itemCard(item) {
    const comment = h("input", { type: "text", maxlength: "500", value: draft.comment, oninput: (event) => { draft.comment = event.target.value; } });
    return h("article", { class: "card question-card", "aria-label": t("label.question", { id: item.id }) },
      h("div", { class: "row meta" }, h("span", {}, `#${item.id}`), badge(t(`review.${item.kind}`), "warn"), item.current && h("span", {}, `${t("review.current")}: `, h("b", {}, intentNames(item.current)))),
      h("p", { class: "question", tabindex: "-1", lang: "zh" }, item.question),
      item.comment && h("p", { class: "quote" }, item.comment),
      item.suspect_of && h("p", { class: "hint" }, t("review.suspected", { intents: intentNames(item.suspect_of) })),
      item.answers?.length > 0 && table([
        { name: t("filter.labeler"), cell: (one) => one.labeler_id },
        { name: t("table.label"), cell: (one) => h("b", {}, intentNames(one.intents)) },
        { name: t("history.when"), cell: (one) => moment(one.labeled_at) },
        { name: "", cell: (one) => button(t("review.take"), () => { draft.intents = [...one.intents]; draw(); }, { class: "small" }) },
      ], item.answers, { caption: t("review.answers") }),
      h("div", { class: "intents", role: "group", "aria-label": t("label.intents") }, INTENTS.map((intent) => h("button", {
        type: "button", class: "intent", "aria-pressed": String(draft.intents.includes(intent)), "data-intent": intent, onclick: () => toggle(intent),
      }, h("kbd", { "aria-hidden": "true" }, shown(`intent.${intent}`)), h("span", { class: "name" }, intentName(intent))))),
      field(t("review.comment"), comment),
      h("div", { class: "row actions" },
        h("button", { type: "button", class: "primary", onclick: () => decide(), "aria-keyshortcuts": "Enter" }, t(`review.${usual(item)}${item.current ? "" : ".unlabelled"}`), h("kbd", { "aria-hidden": "true" }, shown("accept"))),
        button(t("review.send.back"), () => decide("send_back"))));
  }

  const same = (item) => item.current && item.current.length === draft.intents.length && item.current.every((one) => draft.intents.includes(one));
  /** What Enter does: the label stands where nothing else is chosen, and so does that there is none. */
  const usual = (item) => (same(item) || (!item.current && !draft.intents.length) ? "accept" : "correct");

  function toggle(intent) {
    const next = toggled(draft.intents, intent);
    if (next === null) return toast(t("label.too.many"), "bad");
    draft.intents = next;
    const held = document.activeElement?.dataset?.intent;
    draw();
    if (held) stage.querySelector(`[data-intent="${held}"]`)?.focus();
  }

  async function decide(action) {
    const [item] = items;
    if (!item) return;
    if (!labeler()) { dispatchEvent(new Event("ask-name")); return; }
    const what = action ?? usual(item);
    if (what === "correct" && !draft.intents.length) { toast(t("label.none.chosen"), "bad"); return; }
    const body = { action: what, labeler_id: labeler() };
    if (what === "correct") body.correct_intent = draft.intents;
    if (draft.comment.trim()) body.comment = draft.comment.trim();
    const told = await attempt(() => post(`/review/${item.id}`, body), t(`review.${what}.done`));
    if (!told) return;
    items = items.filter((one) => one.id !== item.id);
    draft = items[0] ? { intents: [...(items[0].current ?? items[0].answers?.[0]?.intents ?? [])], comment: "" } : null;
    draw();
    stage.querySelector(".question")?.focus({ preventScroll: true });
    if (items.length < 3) soon();
  }

  async function loadAgreement() {
    try {
      const told = await get("/agreement");
      if (!ended) put(agreement, agreementCard(told));
    } catch (error) {
      if (!ended) put(agreement, card(t("agreement.title"), trouble(error)));
    }
  }

  function onKey(event) {
    if (isTyping(event) || document.querySelector("dialog[open]")) return;
    const what = doneBy(pressed(event));
    if (what === "help") { event.preventDefault(); showKeys().then(draw); }
    else if (items.length && what?.startsWith("intent.")) { event.preventDefault(); toggle(what.slice(7)); }
    else if (items.length && what === "accept" && (!event.target.matches?.("a, button, summary") || event.target.matches(".intent"))) { event.preventDefault(); if (!event.repeat) decide(); }
  }

  const soon = settle(load, 800);
  const end = follow(["label"], () => { soon(); lateAgreement(); });
  const lateAgreement = settle(loadAgreement, 3000);
  document.addEventListener("keydown", onKey);
  drawHead();
  load();
  loadAgreement();
  return () => { ended = true; end(); soon.cancel(); lateAgreement.cancel(); document.removeEventListener("keydown", onKey); };
}

const kappa = (value) => (value === null || value === undefined ? "–" : Number(value).toFixed(2));

function agreementCard(told) {
  const intents = INTENTS.filter((intent) => told.per_intent?.[intent]?.n > 0);
  return card(t("agreement.title"), h("div", { class: "figures" },
    h("div", { class: "figure" }, h("b", {}, kappa(told.alpha)), h("span", {}, t("agreement.alpha")), h("small", {}, t("agreement.of", { n: number(told.questions) })))),
  h("p", { class: "dim" }, t("agreement.why")),
  intents.length > 0 && table([
    { name: t("filter.intent"), cell: (intent) => intentName(intent) },
    { name: t("agreement.kappa"), kind: "number", cell: (intent) => kappa(told.per_intent[intent].kappa) },
    { name: t("agreement.n"), kind: "number", cell: (intent) => number(told.per_intent[intent].n) },
  ], intents, { caption: t("agreement.title") }),
  told.pairs?.length > 0 && [h("h3", {}, t("agreement.pairs")), table([
    { name: t("filter.labeler"), cell: (one) => `${one.a} · ${one.b}` },
    { name: t("agreement.kappa"), kind: "number", cell: (one) => kappa(one.kappa) },
    { name: t("agreement.n"), kind: "number", cell: (one) => number(one.n) },
  ], told.pairs, { caption: t("agreement.pairs") })]);
}
