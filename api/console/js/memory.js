// What this browser remembers: language, theme, the labeler's name, keys, and decisions that were not sent yet.

const PREFIX = "il.";

export function recall(name, otherwise = null) {
  try {
    const found = localStorage.getItem(PREFIX + name);
    return found === null ? otherwise : JSON.parse(found);
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch {
    return false; // full or forbidden: it is kept as long as the page lives
  }
}

export function forget(name) {
  try { localStorage.removeItem(PREFIX + name); } catch { /* it was never kept */ }
}

/** The names that begin with `start`, in their order. */
export function remembered(start) {
  try {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX + start));
    return names.map((name) => name.slice(PREFIX.length)).sort();
  } catch {
    return [];
  }
}

/** Language and theme are also read by early.js, as plain text. */
export function plain(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(PREFIX + name);
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
  } catch { /* not remembered */ }
  return value ?? null;
}

/** A name for one request; `crypto.randomUUID` is only there on https. */
export function token() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
