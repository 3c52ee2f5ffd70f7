// 标注: one question at a time, or a table of many.

import { labeler } from "../api.js";
import { h, isTyping, put } from "../dom.js";
import { t } from "../i18n.js";
import { intentName, intentNames, toggled } from "../intents.js";
import { doneBy, pressed, showKeys } from "../keys.js";
import { button, dialog, field, segments, toast } from "../ui.js";
import { timeIntent, work } from "../work.js";
import { drawCard, focusTime } from "./label_card.js";
import { side } from "./label_side.js";
import { mountTable } from "./label_table.js";

export function mount(root, [mode]) {
  if (mode === "table") return mountTable(root, modes("table"));
  const stage = h("div", { class: "stage" });
  const said = h("div", { class: "hidden", role: "status", "aria-live": "polite" });
  const panel = side();
  root.append(h("div", { class: "label-head row spread" }, modes("one"),
    button(t("keys.show"), showKeys, { class: "plain", "aria-keyshortcuts": "?" })),
  h("div", { class: "label-grid" }, stage, panel.element), said);

  let last = null;
  let fresh = false; // whether the question changed because of a decision, so that focus follows it
  const draw = () => {
    const item = work.current;
    const heldFocus = stage.contains(document.activeElement) && document.activeElement.dataset.focus;
    drawCard(stage, work, acts);
    if (item && item.id !== last) {
      last = item.id;
      panel.show(item);
      if (fresh) stage.querySelector(".question")?.focus({ preventScroll: true });
      fresh = false;
    } else if (heldFocus) {
      stage.querySelector(`[data-focus="${CSS.escape(heldFocus)}"]`)?.focus({ preventScroll: true });
    }
  };

  const acts = {
    draw,
    toggle(intent) {
      if (!work.current) return;
      const next = toggled(work.draft.intents, intent);
      if (next === null) return toast(t("label.too.many"), "bad");
      const on = next.includes(intent);
      work.draft.intents = next;
      said.textContent = t(on ? "label.on" : "label.off", { intent: intentName(intent), all: intentNames(next) });
      draw();
    },
    accept() {
      if (!work.current || !named()) return;
      if (!work.draft.intents.length) return toast(t("label.none.chosen"), "bad");
      if (timeIntent(work.draft) === undefined) { toast(t("time.unread"), "bad"); return focusTime(stage); }
      const names = intentNames(work.draft.intents);
      fresh = true;
      const item = work.label();
      panel.labeled();
      said.textContent = t("label.done", { id: item.id, intents: names });
    },
    pass(action) {
      if (!work.current || !named()) return;
      fresh = true;
      work.decide(action);
      toast(t(`label.${action}.done`));
    },
    async flag() {
      const item = work.current;
      if (!item || !named()) return;
      const comment = await dialog(t("flag.title"), (close) => {
        const text = h("textarea", { name: "comment", rows: "3", maxlength: "500", required: true, autofocus: true });
        const form = h("form", { onsubmit: (event) => { event.preventDefault(); close(text.value.trim()); } },
          h("p", { class: "quote" }, item.question), field(t("flag.comment"), text),
          h("div", { class: "row end" }, button(t("cancel"), () => close()),
            h("button", { type: "submit", class: "primary" }, t("flag.send"))));
        text.addEventListener("keydown", (event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
        });
        return form;
      });
      if (!comment || work.current?.id !== item.id) return;
      fresh = true;
      work.decide("flag", { comment });
      toast(t("label.flag.done"));
    },
    undo() {
      fresh = true;
      const item = work.undo();
      if (!item) { fresh = false; return toast(t("label.undo.nothing")); }
      panel.labeled(-1);
      toast(t("label.undo.done", { id: item.id }));
    },
  };

  function named() {
    if (labeler()) return true;
    dispatchEvent(new Event("ask-name"));
    return false;
  }

  function onKey(event) {
    if (isTyping(event) || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const what = doneBy(pressed(event));
    if (!what) return;
    const focused = document.activeElement;
    const elsewhere = focused instanceof HTMLElement && focused.matches("a, button, summary") && !focused.matches(".intent");
    if (what === "accept" && elsewhere) return; // Enter presses the button that has the focus
    event.preventDefault();
    if (event.repeat) return;
    if (what.startsWith("intent.")) acts.toggle(what.slice(7));
    else if (what === "skip" || what === "postpone") acts.pass(what);
    else if (what === "help") showKeys().then(draw);
    else if (what === "time") focusTime(stage);
    else if (what === "guide") panel.toggle();
    else acts[what]();
  }

  document.addEventListener("keydown", onKey);
  work.addEventListener("change", draw);
  draw();
  work.fill();
  return () => {
    document.removeEventListener("keydown", onKey);
    work.removeEventListener("change", draw);
    panel.end();
  };
}

function modes(chosen) {
  const pick = (value) => { location.hash = value === "table" ? "#/label/table" : "#/label"; };
  return segments([["one", t("label.one")], ["table", t("label.table")]], chosen, pick, t("label.mode"));
}
