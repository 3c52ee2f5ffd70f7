// 训练: batches, how far the running one is, and what the gate said and why.

import { get, post } from "../api.js";
import { h, put, settle } from "../dom.js";
import { duration, moment, number, percent, t, word } from "../i18n.js";
import { follow } from "../live.js";
import { attempt, badge, button, card, confirm, empty, field, loading, table, trouble } from "../ui.js";
import { evidence } from "./training_gate.js";
import { lines } from "../charts.js";

const LOOK_MS = 1500;
const KINDS = { completed: "good", rejected: "warn", failed: "bad", training: "info", pending: "", cancelled: "" };
const STAGES = ["prepare", "keywords", "wide", "fine_tune", "export", "gate", "suspects"];
const losses = new Map(); // by batch: what was seen of its loss, kept while the page lives

export function mount(root, [chosen]) {
  const list = h("div", {}, loading());
  const detail = h("div", { class: "detail" });
  root.append(h("div", { class: "row spread head" },
    h("p", { class: "dim" }, t("trainings.how")), button(t("trainings.start"), start, { class: "primary" })),
  h("div", { class: "grid trainings" }, list, detail));
  let current = chosen ?? null, shownList = "", shownBatch = "", ended = false, timer = 0;

  async function load() {
    clearTimeout(timer);
    try {
      const { batches } = await get("/batches", { limit: 50 });
      if (ended) return;
      current ??= batches[0]?.batch_id ?? null;
      drawList(batches);
      if (current) await loadBatch();
    } catch (error) {
      if (!ended && !shownList) put(list, trouble(error, load));
    }
    if (!ended) timer = setTimeout(load, LOOK_MS);
  }

  async function loadBatch() {
    const wanted = current;
    try {
      const { batch } = await get(`/batches/${encodeURIComponent(wanted)}`);
      if (ended || wanted !== current) return;
      remember(batch);
      const told = JSON.stringify(batch);
      if (told === shownBatch) return;
      shownBatch = told;
      const open = [...detail.querySelectorAll("details[open]")].map((one) => one.dataset.name);
      put(detail, batchCard(batch, load));
      for (const one of detail.querySelectorAll("details")) if (open.includes(one.dataset.name)) one.open = true;
    } catch (error) {
      if (!ended && wanted === current) put(detail, trouble(error, loadBatch));
    }
  }

  function drawList(batches) {
    const told = JSON.stringify([batches, current]);
    if (told === shownList) return;
    shownList = told;
    const held = list.contains(document.activeElement) ? document.activeElement.dataset.batch : null;
    put(list, card(t("trainings.batches"), batches.length === 0 ? empty(t("trainings.none")) : h("ul", { class: "batches" },
      batches.map((one) => h("li", {}, h("button", {
        type: "button", class: "batch", "aria-pressed": String(one.batch_id === current), "data-batch": one.batch_id,
        onclick: () => { current = one.batch_id; shownBatch = ""; put(detail, loading()); load(); },
      }, h("span", { class: "row spread" }, h("b", {}, one.model_version ?? t(`task.${one.task}`)), badge(t(`batch.${one.training_status}`), KINDS[one.training_status])),
      h("span", { class: "dim" }, `${moment(one.created_at)} · ${t(`trigger.${one.trigger}`)} · ${t("trainings.labels", { n: number(one.labeled_count) })}`),
      one.description && h("span", { class: "dim" }, one.description)))))));
    if (held) list.querySelector(`[data-batch="${CSS.escape(held)}"]`)?.focus();
  }

  async function start() {
    const said = await confirm(t("start.title"), [t("start.what")], { yes: t("trainings.start"), more: options });
    if (!said) return;
    await attempt(async () => {
      const made = await post("/batches", { description: said.description });
      await post(`/batches/${encodeURIComponent(made.batch_id)}/run`, { auto_extract_keywords: said.keywords });
      current = made.batch_id;
      shownBatch = "";
      return made;
    }, (made) => t("start.done", { n: number(made.labeled_count) }));
    load();
  }

  const soon = settle(load, 200);
  const end = follow(["batch"], soon);
  load();
  return () => { ended = true; clearTimeout(timer); soon.cancel(); end(); };
}

function options() {
  const description = h("input", { type: "text", maxlength: "500", name: "description" });
  const keywords = h("input", { type: "checkbox", checked: true });
  const element = h("div", { class: "column" }, field(t("start.description"), description), h("label", { class: "check" }, keywords, t("start.keywords")));
  return { element, read: () => ({ description: description.value.trim(), keywords: keywords.checked }) };
}

/** Keep the losses that were told: the API tells only the last one. */
function remember(batch) {
  const { loss, stage, step } = batch.progress ?? {};
  if (loss === null || loss === undefined || stage !== "fine_tune") return;
  const seen = losses.get(batch.batch_id) ?? new Map();
  seen.set(step, Number(loss));
  losses.set(batch.batch_id, seen);
}

function batchCard(batch, load) {
  const status = batch.training_status;
  const running = status === "training", waits = status === "pending";
  return card(null,
    h("div", { class: "row spread" }, h("h2", {}, batch.model_version ?? t(`task.${batch.task}`)), badge(t(`batch.${status}`), KINDS[status])),
    h("dl", { class: "facts" },
      fact(t("trainings.id"), batch.batch_id), fact(t("trainings.task"), t(`task.${batch.task}`)), fact(t("trainings.trigger"), t(`trigger.${batch.trigger}`)),
      fact(t("trainings.from"), batch.parent_version), fact(t("trainings.questions"), number(batch.question_count)), fact(t("trainings.distinct"), number(batch.labeled_count)),
      fact(t("trainings.began"), batch.training_start_time && moment(batch.training_start_time)), fact(t("trainings.took"), batch.training_duration_sec && duration(batch.training_duration_sec)),
      fact(t("trainings.accuracy"), batch.model_accuracy && percent(batch.model_accuracy)), fact(t("trainings.rules"), batch.rules_extracted)),
    batch.error_message && h("p", { class: `notice ${status === "failed" ? "bad" : ""}` }, batch.error_message),
    running && progressOf(batch), lossCurve(batch),
    h("div", { class: "row" },
      waits && !batch.requested && button(t("trainings.run"), () => attempt(() => post(`/batches/${batch.batch_id}/run`, {}), t("trainings.run.done")).then(load), { class: "primary" }),
      waits && batch.requested && h("span", { class: "dim" }, t("trainings.queued")),
      (waits || running) && button(t("trainings.cancel"), () => cancel(batch, load), { class: "danger" }),
      ["failed", "cancelled"].includes(status) && h("span", { class: "dim" }, t("trainings.again"))),
    evidence(batch.metrics),
    batch.training_log && h("details", { "data-name": "log" }, h("summary", {}, t("trainings.log")), h("pre", { tabindex: "0" }, batch.training_log)));
}

const fact = (name, value) => (value === null || value === undefined || value === "" ? null : h("div", {}, h("dt", {}, name), h("dd", {}, value)));

async function cancel(batch, load) {
  const said = await confirm(t("cancel.title"), [t("cancel.what")], { yes: t("trainings.cancel"), reason: true, danger: true });
  if (said) await attempt(() => post(`/batches/${batch.batch_id}/cancel`, { reason: said.reason }), t("cancel.done")).then(load);
}

function progressOf(batch) {
  const { stage = "prepare", step = 0, total_steps: total = 0, loss, seconds_left: left } = batch.progress ?? {};
  const at = STAGES.indexOf(stage);
  return h("div", { class: "running", role: "group", "aria-label": t("trainings.progress") },
    h("ol", { class: "stages" }, STAGES.map((one, place) => h("li", {
      class: place < at ? "done" : place === at ? "now" : "", "aria-current": place === at ? "step" : null,
    }, word(`stage.${one}`, one)))),
    h("progress", { max: String(total || 1), value: total ? String(step) : null, "aria-label": word(`stage.${stage}`, stage) }),
    h("p", { class: "dim" }, [total > 0 && t("trainings.step", { n: number(step), m: number(total) }), loss !== null && loss !== undefined && t("trainings.loss", { n: Number(loss).toFixed(3) }),
      left !== null && left !== undefined && t("trainings.left", { n: duration(left) })].filter(Boolean).join(" · ")));
}

function lossCurve(batch) {
  const points = [...(losses.get(batch.batch_id) ?? [])].sort((a, b) => a[0] - b[0]);
  if (points.length < 2) return null;
  return h("figure", {}, h("figcaption", {}, t("trainings.loss.curve")),
    lines([{ name: t("trainings.loss.curve"), colour: "var(--accent)", points }], { name: t("trainings.loss.curve"), format: (value) => value.toFixed(2), xs: [[points[0][0], points[0][0]], [points.at(-1)[0], points.at(-1)[0]]] }));
}
