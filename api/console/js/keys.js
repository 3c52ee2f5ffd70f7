// Which key does what; remembered in this browser, and changed in the overlay.

import { h, put } from "./dom.js";
import { t } from "./i18n.js";
import { INTENTS, intentName } from "./intents.js";
import { forget, recall, remember } from "./memory.js";
import { button, dialog } from "./ui.js";

const DIGITS = [..."1234567890", "q", "w", "e", "r"];
const ACTIONS = { accept: "enter", undo: "u", skip: "s", postpone: "p", flag: "f", time: "t", guide: "g", help: "?" };
const USUAL = { ...Object.fromEntries(INTENTS.map((intent, place) => [`intent.${intent}`, DIGITS[place]])), ...ACTIONS };

let keys = { ...USUAL, ...recall("keys", {}) };

/** The key of a press as it is written here; a Chinese input method that is on hides it, its place on the board does not. */
export function pressed(event) {
  if (event.key === "Process" || event.key === "Unidentified") {
    return (/^(?:Key|Digit)(.)$/.exec(event.code)?.[1] ?? event.code).toLowerCase();
  }
  if (/^Numpad\d$/.test(event.code)) return event.code.slice(6);
  return event.key.normalize("NFKC").toLowerCase().replace("？", "?");
}

/** What `key` does: "intent.wealth", "accept", …; undefined where nothing. */
export const doneBy = (key) => Object.keys(USUAL).find((what) => keys[what] === key);
export const keyOf = (what) => keys[what];
export const shown = (what) => ({ enter: "Enter", " ": "Space", escape: "Esc" })[keys[what]] ?? keys[what].toUpperCase();
const nameOf = (what) => (what.startsWith("intent.") ? intentName(what.slice(7)) : t(`key.${what}`));

/** Give `what` the key `key`; what had it gets the old one, so that no two share a key. */
function give(what, key) {
  const other = doneBy(key);
  if (other && other !== what) keys[other] = keys[what];
  keys[what] = key;
  remember("keys", Object.fromEntries(Object.entries(keys).filter(([name, value]) => USUAL[name] !== value)));
}

/** The overlay that shows the keys and changes them. */
export function showKeys() {
  return dialog(t("keys.title"), (close) => {
    const list = h("div", { class: "keys" });
    let asking = null;
    const draw = () => put(list, Object.keys(USUAL).map((what) => h("div", { class: "key-row" },
      h("span", {}, nameOf(what)),
      h("button", {
        type: "button", class: "cap", "aria-label": t("keys.change", { what: nameOf(what), key: shown(what) }),
        onclick: (event) => {
          if (asking === what) return;
          asking = what;
          event.currentTarget.textContent = t("keys.press");
        },
        onblur: () => { if (asking === what) { asking = null; draw(); } },
        onkeydown: (event) => {
          if (asking !== what) return;
          event.preventDefault();
          event.stopPropagation();
          if (["shift", "control", "alt", "meta", "tab"].includes(pressed(event))) return;
          asking = null;
          if (event.key !== "Escape") give(what, pressed(event));
          const place = Object.keys(USUAL).indexOf(what);
          draw();
          list.querySelectorAll("button")[place].focus();
        },
      }, shown(what)))));
    draw();
    return [
      h("p", {}, t("keys.how")), list,
      h("div", { class: "row end" },
        button(t("keys.reset"), () => { keys = { ...USUAL }; forget("keys"); draw(); }),
        button(t("close"), () => close(), { class: "primary", autofocus: true })),
    ];
  });
}
