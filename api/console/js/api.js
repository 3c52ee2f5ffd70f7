// Calls of the API. Whether it can be reached is known here, and told to whoever listens to `connection`.

import { recall } from "./memory.js";

export const ROOT = "/api/v1/model-tuning";
const PATIENCE_MS = 15000;
const LOOK_MS = 1500;
const AWAY = new Set([502, 503, 504]);

/** The API refused: `code` is for programs, `message` for people. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `HTTP ${status}`);
    this.status = status;
    this.code = error?.code ?? "unknown";
    this.field = error?.field ?? null;
  }

  /** Whether this server does not know the route at all. */
  get isMissing() {
    return (this.status === 404 && this.code === "unknown_route") || this.status === 405;
  }
}

/** The API, or a server behind it, was not reached. */
export class Away extends Error {}

/** `lost` while the API cannot be reached; the event "change" says that it became so, or ceased to. */
export const connection = new (class extends EventTarget {
  lost = false;
  #timer = 0;

  set(lost) {
    if (lost === this.lost) return;
    this.lost = lost;
    if (lost) this.#look();
    else clearTimeout(this.#timer);
    this.dispatchEvent(new Event("change"));
  }

  #look() {
    this.#timer = setTimeout(async () => {
      try {
        const answer = await fetch("/livez", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
        if (answer.ok) return this.set(false);
      } catch { /* still away */ }
      return this.#look();
    }, LOOK_MS);
  }
})();

export function labeler() {
  return recall("labeler", "");
}

function query(given) {
  const kept = Object.entries(given ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
}

async function call(method, path, { body, key, who, keepalive, ...rest } = {}) {
  const headers = { Accept: "application/json" };
  const name = who ?? labeler();
  if (name) headers["X-Labeler"] = encodeURIComponent(name);
  if (key) headers["Idempotency-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer, told;
  try {
    const signal = keepalive ? undefined : AbortSignal.timeout(PATIENCE_MS);
    const sent = body === undefined ? undefined : JSON.stringify(body);
    answer = await fetch(ROOT + path + query(rest.query), { method, headers, body: sent, signal, keepalive, cache: "no-store" });
    told = await answer.json();
  } catch (error) {
    if (answer && !AWAY.has(answer.status)) throw new Refused(answer.status);
    connection.set(true);
    throw new Away(String(error));
  }
  connection.set(false);
  if (answer.ok) return told;
  if (AWAY.has(answer.status)) throw new Away(told?.error?.message ?? `HTTP ${answer.status}`);
  throw new Refused(answer.status, told?.error);
}

export const get = (path, given) => call("GET", path, { query: given });
export const post = (path, body, more) => call("POST", path, { body: body ?? {}, ...more });
