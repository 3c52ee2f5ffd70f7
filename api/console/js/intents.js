// The intents, in the order of the keys. The API's own words for them come with the guidelines.

import { t, word } from "./i18n.js";

export const INTENTS = [
  "career", "wealth", "marriage", "health", "personality", "wangshui", "yongji", "shishen", "nayin", "general", "non_fortune",
];
export const ALONE = "non_fortune";
export const MOST = 3;
export const TIMES = [
  "today", "this_month", "this_year", "next_year", "future_years", "recent_years", "specific_year", "year_range",
];

export const intentName = (intent) => word(`intent.${intent}`, intent);
export const intentNames = (intents) => (intents?.length ? intents.map(intentName).join(t("list.comma")) : "–");
export const methodName = (method) => (method ? word(`method.${method}`, method) : "–");

/** `chosen` after `intent` was pressed; null where that would be one too many. */
export function toggled(chosen, intent) {
  if (chosen.includes(intent)) return chosen.filter((one) => one !== intent);
  if (intent === ALONE) return [ALONE];
  const others = chosen.filter((one) => one !== ALONE);
  return others.length >= MOST ? null : [...others, intent];
}

/** The year in Shanghai when a question was asked: what "this year" means in it. */
export function yearOf(asked) {
  return Number(new Intl.DateTimeFormat("en", { timeZone: "Asia/Shanghai", year: "numeric" }).format(asked ? new Date(asked) : new Date()));
}

/** The years that a time intent of `type` means by default, in the year `y`. */
export function usualYears(type, y) {
  const years = { next_year: [y + 1], future_years: [y + 1, y + 2, y + 3], recent_years: [y - 2, y - 1, y], year_range: [y, y + 1] };
  return years[type] ?? [y];
}

/** "2026, 2028-2030" as a list of years; null where it is none. */
export function readYears(text) {
  const years = [];
  for (const part of text.normalize("NFKC").split(/[\s,、;]+/).filter(Boolean)) {
    const found = /^(\d{4})(?:[-~–至到](\d{4}))?$/.exec(part);
    if (!found) return null;
    const first = Number(found[1]), last = Number(found[2] ?? found[1]);
    if (first < 1000 || last < first || last - first > 99) return null;
    for (let year = first; year <= last; year += 1) years.push(year);
  }
  return years.length && years.length <= 100 ? [...new Set(years)] : null;
}

/** A list of years as it is written: runs of three and more as a range. */
export function writeYears(years) {
  const sorted = [...(years ?? [])].sort((a, b) => a - b);
  const runs = [];
  for (const year of sorted) {
    const last = runs.at(-1);
    if (last && year === last[1] + 1) last[1] = year;
    else runs.push([year, year]);
  }
  return runs.map(([a, b]) => (a === b ? `${a}` : b === a + 1 ? `${a}, ${b}` : `${a}-${b}`)).join(", ");
}
