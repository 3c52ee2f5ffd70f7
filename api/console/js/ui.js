// Parts that several views are built of.

import { Away, Refused } from "./api.js";
import { h, put } from "./dom.js";
import { t, word } from "./i18n.js";

/** A short note that goes by itself; read out by screen readers. */
export function toast(text, kind = "") {
  const note = h("div", { class: `toast ${kind}` }, text);
  const shelf = document.getElementById("toasts");
  while (shelf.children.length >= 3) shelf.firstChild.remove();
  shelf.append(note);
  setTimeout(() => note.remove(), kind === "bad" ? 8000 : 4000);
}

/** What went wrong, in words for people. */
export function explain(error) {
  if (error instanceof Away) return t("error.away");
  if (error instanceof Refused && error.isMissing) return t("error.missing");
  if (error instanceof Refused) return word(`refused.${error.code}`, error.message);
  return String(error?.message ?? error);
}

/** A box in the place of what cannot be shown. */
export function trouble(error, again) {
  const missing = error instanceof Refused && error.isMissing;
  return h("div", { class: `notice ${missing ? "" : "bad"}`, role: "alert" },
    h("p", {}, explain(error)),
    again && !missing && h("button", { type: "button", onclick: again }, t("again")));
}

export const empty = (text) => h("p", { class: "empty" }, text);
export const loading = () => h("p", { class: "empty", role: "status" }, t("loading"));
export const badge = (text, kind = "") => h("span", { class: `badge ${kind}` }, text);
export const button = (text, onclick, props = {}) => h("button", { type: "button", onclick, ...props }, text);

export function card(title, ...children) {
  return h("section", { class: "card" }, title && h("h2", {}, title), ...children);
}

/** A figure with its name under it. */
export function figure(value, name, note) {
  return h("div", { class: "figure" }, h("b", {}, value), h("span", {}, name), note && h("small", {}, note));
}

/** A table: `columns` are `{name, cell(row), kind?}`. Wide ones scroll inside their own frame; `stack`: on a phone each row is a block. */
export function table(columns, rows, { caption, rowProps, stack = false } = {}) {
  const head = h("tr", {}, columns.map((one) => h("th", { scope: "col", class: one.kind }, one.name)));
  const body = rows.map((row) => h("tr", rowProps?.(row) ?? {}, columns.map((one) => h("td", { class: one.kind, "data-name": typeof one.name === "string" ? one.name : null }, h("div", {}, one.cell(row))))));
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption ?? t("table") },
    h("table", { class: stack ? "stack" : null }, caption && h("caption", { class: "hidden" }, caption), h("thead", {}, head), h("tbody", {}, body)));
}

/** Several choices of which one is pressed. */
export function segments(choices, chosen, pick, label) {
  return h("div", { class: "segments", role: "group", "aria-label": label },
    choices.map(([value, text]) => h("button", {
      type: "button", "aria-pressed": String(value === chosen), onclick: () => pick(value),
    }, text)));
}

/** A labelled field. */
export function field(name, control, hint) {
  return h("label", { class: "field" }, h("span", {}, name), control, hint && h("small", {}, hint));
}

export function select(choices, chosen, onchange, props = {}) {
  const made = h("select", { onchange: (event) => onchange?.(event.target.value), ...props },
    choices.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
  made.value = chosen ?? "";
  return made;
}

/**
 * A dialog. `content(close)` returns its children; `close(value)` ends it. Resolves with the value, null where it was escaped.
 */
export function dialog(title, content, { wide = false } = {}) {
  const before = document.activeElement;
  return new Promise((resolve) => {
    const box = h("dialog", { class: wide ? "wide" : "", "aria-labelledby": "dialog-title" });
    const close = (value = null) => { box.returned = value; box.close(); };
    box.addEventListener("close", () => {
      box.remove();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
      resolve(box.returned ?? null);
    });
    box.addEventListener("click", (event) => { if (event.target === box) close(); });
    put(box, h("div", { class: "inside" },
      h("header", {}, h("h2", { id: "dialog-title" }, title),
        button("×", () => close(), { class: "plain close", "aria-label": t("close") })),
      content(close)));
    document.body.append(box);
    box.showModal();
    box.querySelector("[autofocus]")?.focus();
  });
}

/** Ask before something is done; `lines` say what it does. Resolves with `{reason}` or null. */
export function confirm(title, lines, { yes, reason = false, reasonNeeded = false, danger = false, more } = {}) {
  return dialog(title, (close) => {
    const why = h("input", { type: "text", maxlength: "500", name: "reason", required: reasonNeeded });
    const extra = more?.();
    const form = h("form", {
      method: "dialog",
      onsubmit: (event) => {
        event.preventDefault();
        close({ reason: why.value.trim(), ...(extra?.read() ?? {}) });
      },
    },
      lines.filter(Boolean).map((line) => h("p", {}, line)),
      extra?.element,
      reason && field(reasonNeeded ? t("reason.needed") : t("reason"), why),
      h("div", { class: "row end" },
        button(t("cancel"), () => close()),
        h("button", { type: "submit", class: danger ? "danger" : "primary", autofocus: !reasonNeeded }, yes ?? t("ok"))));
    if (reasonNeeded) why.setAttribute("autofocus", "");
    return form;
  });
}

/** Run `work`; tell of a refusal in a toast. Resolves with its result, or undefined. */
export async function attempt(work, done) {
  try {
    const told = await work();
    if (done) toast(typeof done === "function" ? done(told) : done, "good");
    return told;
  } catch (error) {
    toast(explain(error), "bad");
    return undefined;
  }
}
