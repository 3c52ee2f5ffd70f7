// Texts in two languages, and how numbers and moments are written in them.

import { plain } from "./memory.js";
import { zh } from "./texts/zh.js";
import { en } from "./texts/en.js";

const TEXTS = { zh, en };
let language = plain("lang") === "en" ? "en" : "zh";

export const lang = () => language;

export function speak(next) {
  language = next;
  plain("lang", next);
  document.documentElement.lang = next === "en" ? "en" : "zh-CN";
}

/** The text `key`; `{name}` in it is replaced by `given.name`. A missing one shows its key. */
export function t(key, given = {}) {
  const text = TEXTS[language][key] ?? zh[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(given[name] ?? ""));
}

/** The text `key`, or `otherwise` where there is none: for words that come from the server. */
export const word = (key, otherwise) => TEXTS[language][key] ?? otherwise;

const locale = () => (language === "en" ? "en-GB" : "zh-CN");

export const number = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString(locale()));

/** A share of 0..1 as per cent. */
export function percent(value, digits = 1) {
  return value === null || value === undefined ? "–" : `${(100 * Number(value)).toFixed(digits)}%`;
}

export function moment(value) {
  if (!value) return "–";
  const options = { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hour12: false };
  return new Date(value).toLocaleString(locale(), options);
}

/** How long ago, in one word. */
export function ago(value) {
  const seconds = Math.round((Date.now() - new Date(value).getTime()) / 1000);
  const format = new Intl.RelativeTimeFormat(locale(), { numeric: "auto", style: "short" });
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= size) return format.format(-Math.round(seconds / size), unit);
  }
  return format.format(-seconds, "second");
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(Number(seconds));
  if (whole < 60) return t("unit.seconds", { n: Number(seconds) < 10 ? Number(seconds).toFixed(1) : whole });
  return t("unit.minutes", { n: Math.floor(whole / 60), s: whole % 60 });
}
