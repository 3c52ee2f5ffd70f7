// What can be done to versions. Each asks first, and says what it does.

import { get, post } from "../api.js";
import { h, put } from "../dom.js";
import { t } from "../i18n.js";
import { markdown } from "../markdown.js";
import { attempt, button, confirm, dialog, field, loading, trouble } from "../ui.js";

/** The actions on what is `seen`; `load` shows what came of them. */
export function acts({ rollout, history }, load) {
  const serving = rollout.serving?.version ?? "–";
  const candidate = rollout.candidate?.version ?? null;
  const of = (version) => encodeURIComponent(version);
  const done = (work, text) => attempt(work, text).then(load);

  return {
    async activate(model) {
      const said = await confirm(t("activate.title", { version: model.version }), [
        t("activate.what", { version: model.version, serving }),
        candidate && candidate !== model.version && t("activate.candidate.ends", { version: candidate }),
        model.gate_passed ? t("activate.back", { serving }) : h("b", { class: "error" }, t("activate.gate")),
      ], { yes: t("models.activate"), reason: true, reasonNeeded: !model.gate_passed, danger: !model.gate_passed });
      if (said) await done(() => post(`/models/${of(model.version)}/activate`, { reason: said.reason }), t("activate.done", { version: model.version }));
    },
    async attempt(model) {
      const said = await confirm(t("try.title", { version: model.version }), [
        t("try.what", { serving }), candidate && candidate !== model.version && t("activate.candidate.ends", { version: candidate }),
        !model.gate_passed && h("b", { class: "error" }, t("activate.gate")),
      ], { yes: t("try.start"), reason: true, more: howMuch });
      if (!said) return;
      const { reason, mode, traffic } = said;
      const body = mode === "shadow" ? { mode, reason } : { traffic, reason };
      await done(() => post(`/models/${of(model.version)}/activate`, body), t("try.done", { version: model.version }));
    },
    async promote(version) {
      const { comparison } = rollout;
      const said = await confirm(t("promote.title", { version }), [
        t("promote.what", { version, serving }),
        comparison && t("promote.verdict", { verdict: t(`compare.${comparison.verdict}`), says: "" }), t("activate.back", { serving }),
      ], { yes: t("models.promote"), reason: true, danger: comparison?.verdict === "worse" });
      if (said) await done(() => post(`/models/${of(version)}/promote`, { reason: said.reason }), t("promote.done", { version }));
    },
    async rollback() {
      const all = history.filter((one) => one.traffic === 100 && one.mode === "serve");
      const before = all.find((one) => one.version !== serving)?.version;
      const what = candidate ? t("rollback.candidate", { version: candidate, serving })
        : before ? t("rollback.before", { before, serving }) : t("rollback.before.unknown", { serving });
      const said = await confirm(t("rollback.title"), [what], { yes: t("models.rollback"), reason: true, danger: true });
      if (said) await done(() => post("/models/rollback", { reason: said.reason }), (told) => t("rollback.done", { version: told.version }));
    },
    async rescore(version) {
      const said = await confirm(t("rescore.title", { version }), [t("rescore.what", { version })], { yes: t("models.rescore"), reason: true });
      if (said) await done(() => post(`/models/${of(version)}/rescore`, { reason: said.reason }), t("rescore.done"));
    },
    card(version) {
      return dialog(`${t("models.card")}: ${version}`, (close) => {
        const body = h("div", { class: "markdown", tabindex: "0" }, loading());
        get(`/models/${of(version)}/card`).then((told) => put(body, markdown(told.card, told.pictures)), (error) => put(body, trouble(error)));
        return [body, h("div", { class: "row end" }, button(t("close"), () => close(), { class: "primary", autofocus: true }))];
      }, { wide: true });
    },
  };
}

/** Canary with a share, or shadow. */
function howMuch() {
  const share = h("input", { type: "number", name: "traffic", min: "1", max: "99", value: "10", required: true });
  const kind = (value, text, on) => h("label", { class: "check" },
    h("input", { type: "radio", name: "mode", value, checked: on, onchange: () => { share.disabled = value === "shadow"; } }), text);
  const element = h("fieldset", {}, kind("serve", t("try.canary"), true), field(t("try.share"), share), kind("shadow", t("try.shadow"), false));
  return { element, read: () => ({ mode: element.querySelector("[name=mode]:checked").value, traffic: Number(share.value) }) };
}
