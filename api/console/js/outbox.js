// Decisions on their way to the API: kept in this browser until the API has answered, sent in their order, never lost.
//
// Each is an entry of its own in the browser's storage, so that two tabs do not overwrite each other; both may send the same
// one, and its Idempotency-Key makes that harmless.

import { Away, connection, labeler, post } from "./api.js";
import { forget, recall, remember, remembered, token } from "./memory.js";

const START = "out.";
const AGAIN_MS = [500, 1000, 2000, 4000, 8000];
const unkept = new Map(); // where the browser stores nothing

export const outbox = new (class extends EventTarget {
  #sending = null;
  #tries = 0;
  #timer = 0;
  #count = 0;

  constructor() {
    super();
    connection.addEventListener("change", () => { if (!connection.lost) this.flush(); });
    addEventListener("online", () => this.flush());
  }

  /** Names of what waits, the oldest first. */
  waiting() {
    return [...remembered(START), ...unkept.keys()].sort();
  }

  /** Whether the last attempt failed and something waits. */
  get stuck() {
    return this.#tries > 0 && this.waiting().length > 0;
  }

  /** Keep `{path, body, what, id}` and send it as soon as possible. Returns its name. */
  add(entry) {
    const name = `${START}${String(Date.now()).padStart(14, "0")}.${String(this.#count++).padStart(5, "0")}.${token().slice(0, 8)}`;
    const kept = { ...entry, key: token(), who: labeler() };
    if (!remember(name, kept)) unkept.set(name, kept);
    this.#changed();
    this.flush();
    return name;
  }

  /** Take back what was not sent. False where it is on its way, or gone. */
  withdraw(name) {
    if (name === this.#sending || !this.waiting().includes(name)) return false;
    this.#drop(name);
    return true;
  }

  /** The questions that have a decision on its way. */
  questions() {
    return new Set(this.waiting().map((name) => this.#read(name)?.id));
  }

  #read(name) {
    return unkept.get(name) ?? recall(name);
  }

  #drop(name) {
    unkept.delete(name);
    forget(name);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** Send what waits. */
  async flush() {
    if (this.#sending !== null) return;
    clearTimeout(this.#timer);
    for (const name of this.waiting()) {
      const entry = this.#read(name);
      if (entry === null) { this.#drop(name); continue; }
      this.#sending = name;
      try {
        const told = await post(entry.path, entry.body, { key: entry.key, who: entry.who });
        this.#drop(name);
        this.dispatchEvent(new CustomEvent("sent", { detail: { entry, told, name } }));
      } catch (error) {
        if (error instanceof Away) {
          this.#sending = null;
          this.#timer = setTimeout(() => this.flush(), AGAIN_MS[Math.min(this.#tries++, AGAIN_MS.length - 1)]);
          this.#changed();
          return;
        }
        this.#drop(name); // it would be refused again
        this.dispatchEvent(new CustomEvent("refused", { detail: { entry, error, name } }));
      } finally {
        this.#sending = null;
      }
      this.#tries = 0;
    }
    this.#changed();
    if (this.waiting().length) this.flush();
  }
})();
