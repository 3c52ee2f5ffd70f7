// The labeler's own queue: questions that are leased and fetched ahead, decisions that were made, and taking one back.

import { Away, connection, labeler, post } from "./api.js";
import { outbox } from "./outbox.js";
import { readYears, writeYears } from "./intents.js";

const PAGE = 10;
const LOW = 5;
const MAX_LEASED = 50;
const AGAIN_MS = 5000;
const KEPT = 50;

/** What a labeler would say if nothing was changed: the model's answer, or nothing where it is hidden. */
function draftOf(item) {
  const said = item.prediction;
  const time = said?.time_intent ?? null;
  return {
    id: item.id,
    intents: [...(said?.intents ?? [])],
    time: { type: time?.type ?? "", years: writeYears(time?.target_years), explicit: time?.is_explicit ?? false, description: time?.description ?? "" },
  };
}

/** The draft's time intent as the API takes it; null where none is said, undefined where its years cannot be read. */
export function timeIntent(draft) {
  const { type, years, explicit, description } = draft.time;
  if (!type) return null;
  const read = readYears(years);
  return read ? { type, target_years: read, is_explicit: explicit, description } : undefined;
}

export const work = new (class extends EventTarget {
  queue = [];
  history = [];
  draft = null;
  state = "loading"; // loading, ready, empty, away, failed
  error = null;
  #decided = new Set();
  #filling = false;
  #timer = 0;
  #renewal = 0;
  #who = null;

  constructor() {
    super();
    addEventListener("labeler", () => this.#restart());
    addEventListener("pagehide", () => this.#release());
    connection.addEventListener("change", () => { if (!connection.lost) this.fill(); });
  }

  get current() {
    return this.queue[0] ?? null;
  }

  #changed() {
    const item = this.current;
    if (item && this.draft?.id !== item.id) this.draft = draftOf(item);
    if (item) this.state = "ready";
    this.dispatchEvent(new Event("change"));
  }

  #restart() {
    this.#release();
    this.queue = [];
    this.history = [];
    this.draft = null;
    this.state = "loading";
    this.#decided.clear();
    this.fill();
  }

  #release() {
    const ids = this.queue.flatMap((item) => item.group_ids ?? [item.id]);
    if (this.#who && ids.length) {
      post("/work/release", { question_ids: ids }, { who: this.#who, keepalive: true }).catch(() => { /* the lease ends by itself */ });
    }
  }

  /** Fetch ahead where few are left; also keeps the leases of those that are here. */
  async fill({ renew = false } = {}) {
    clearTimeout(this.#timer);
    if (this.#filling || !labeler() || (!renew && this.queue.length >= LOW)) return;
    this.#filling = true;
    this.#who = labeler();
    try {
      const limit = Math.min(MAX_LEASED, PAGE + this.queue.length + outbox.waiting().length);
      const told = await post("/work/next", { limit, strategy: "mixed" });
      this.#take(told);
    } catch (error) {
      this.error = error;
      if (!this.queue.length) this.state = error instanceof Away ? "away" : "failed";
    } finally {
      this.#filling = false;
    }
    if (!this.queue.length) this.#timer = setTimeout(() => this.fill(), AGAIN_MS);
    this.#changed();
  }

  #take(told) {
    if (this.#who !== labeler()) return;
    const given = new Set(told.questions.map((item) => item.id));
    const [first, ...rest] = this.queue;
    const mine = first ? [first, ...rest.filter((item) => given.has(item.id))] : [];
    const here = new Set(mine.map((item) => item.id));
    const sending = outbox.questions();
    const fresh = told.questions.filter((item) => !here.has(item.id) && !sending.has(item.id) && !this.#decided.has(item.id));
    this.queue = [...mine, ...fresh];
    if (!this.queue.length) this.state = "empty";
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(() => this.fill({ renew: true }), (told.lease_seconds ?? 300) * 400);
  }

  /** Decide on the current question; the next one is there at once. `action`: label, skip, postpone or flag. */
  decide(action, body = {}) {
    const item = this.current;
    if (!item) return null;
    const sent = { labeler_id: labeler(), ...body };
    const name = outbox.add({ path: `/questions/${item.id}/${action}`, body: sent, id: item.id, what: action });
    for (const id of item.group_ids ?? [item.id]) this.#decided.add(id);
    this.history.push({ item, action, draft: this.draft, name });
    if (this.history.length > KEPT) this.history.shift();
    this.queue = this.queue.slice(1);
    if (!this.queue.length) this.state = "loading";
    this.#changed();
    this.fill();
    return item;
  }

  label() {
    const body = { correct_intent: this.draft.intents };
    const time = timeIntent(this.draft);
    if (time) body.correct_time_intent = time;
    if (this.current.group_size > 1) body.apply_to_group = true;
    return this.decide("label", body);
  }

  /** Take back the last decision, one step: it is shown again as it was left. */
  undo() {
    const last = this.history.pop();
    if (!last) return null;
    const { item } = last;
    if (!outbox.withdraw(last.name)) {
      outbox.add({ path: `/questions/${item.id}/undo`, body: { labeler_id: labeler() }, id: item.id, what: "undo" });
    }
    for (const id of item.group_ids ?? [item.id]) this.#decided.delete(id);
    this.queue = [item, ...this.queue.filter((one) => one.id !== item.id)];
    this.draft = { ...last.draft };
    this.#changed();
    return item;
  }
})();
