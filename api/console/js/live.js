// What changes on the server, without reloading: server-sent events where there are any, else a look every few seconds.

import { ROOT } from "./api.js";

const NAMES = ["label", "batch", "model", "rollout", "progress"];
const LOOK_MS = 4000;
const AGAIN_MS = 5000;
const listeners = new Set();
let source = null;
let timer = 0;

function tell(name, data) {
  for (const one of [...listeners]) if (name === null || one.names.includes(name)) one.hear(name, data);
}

function connect() {
  source = new EventSource(`${ROOT}/events`);
  let opened = false;
  source.addEventListener("open", () => {
    clearInterval(timer);
    timer = 0;
    if (opened) tell(null, null); // what happened in between was not heard
    opened = true;
  });
  for (const name of NAMES) {
    source.addEventListener(name, (event) => {
      let data = null;
      try { data = JSON.parse(event.data); } catch { /* told without its data */ }
      tell(name, data);
    });
  }
  source.addEventListener("error", () => {
    timer ||= setInterval(() => tell(null, null), LOOK_MS);
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN_MS * 6);
  });
}

/** Call `hear(name, data)` at every event of `names`; with nulls where anything may have changed. Returns what ends it. */
export function follow(names, hear) {
  if (source === null) connect();
  const one = { names, hear };
  listeners.add(one);
  return () => listeners.delete(one);
}
