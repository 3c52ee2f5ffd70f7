// The shell: tabs, language, theme, who labels, and the banner that says when the connection is lost.

import { connection, labeler } from "./api.js";
import { h, put } from "./dom.js";
import { lang, speak, t } from "./i18n.js";
import { plain, recall, remember } from "./memory.js";
import { outbox } from "./outbox.js";
import { button, dialog, explain, toast, trouble } from "./ui.js";

const VIEWS = ["label", "review", "trainings", "models", "rules", "overview"];
const main = document.getElementById("main");
let leave = null;
let turn = 0;

function chosenView() {
  const name = location.hash.slice(2).split("/")[0];
  return VIEWS.includes(name) ? name : "label";
}

function theme() {
  return document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

function drawTop() {
  const view = chosenView();
  const tabs = VIEWS.map((name) => h("a", { href: `#/${name}`, "aria-current": name === view ? "page" : null }, t(`tab.${name}`)));
  const next = theme() === "dark" ? "light" : "dark";
  put(document.getElementById("top"),
    h("a", { class: "brand", href: "#/label", "aria-label": "intentloop" },
      h("img", { src: "/console/icon.svg", alt: "", width: "24", height: "24" }), h("span", {}, "intentloop")),
    h("nav", { "aria-label": t("nav") }, tabs),
    h("div", { class: "tools" },
      button(labeler() || t("who.none"), askName, { class: "plain name", title: t("who.change"), "aria-label": `${t("who.change")}: ${labeler() || t("who.none")}` }),
      button(lang() === "zh" ? "EN" : "中文", () => { speak(lang() === "zh" ? "en" : "zh"); draw(); },
        { class: "plain", lang: lang() === "zh" ? "en" : "zh-CN", "aria-label": lang() === "zh" ? "English" : "中文" }),
      button(next === "dark" ? "☾" : "☀", () => {
        document.documentElement.dataset.theme = plain("theme", next);
        drawTop();
      }, { class: "plain", title: t(`theme.${next}`), "aria-label": t(`theme.${next}`) })));
  document.getElementById("skip-link").textContent = t("skip.link");
  document.title = `${t(`tab.${view}`)} · intentloop`;
}

async function draw() {
  const mine = ++turn;
  leave?.();
  leave = null;
  drawTop();
  const view = chosenView();
  main.className = `view-${view}`;
  put(main, h("h1", { class: "hidden" }, t(`tab.${view}`)));
  try {
    const { mount } = await import(`./views/${view}.js`);
    if (mine !== turn) return;
    leave = mount(main, location.hash.slice(2).split("/").slice(1).map(decodeURIComponent));
  } catch (error) {
    if (mine === turn) main.append(trouble(error, draw));
  }
}

/** Ask for the labeler's name; without one nothing can be labelled. */
async function askName() {
  const name = await dialog(t("who.title"), (close) => {
    const input = h("input", { type: "text", name: "labeler", maxlength: "64", required: true, autofocus: true, autocomplete: "nickname", value: labeler() });
    return h("form", { onsubmit: (event) => { event.preventDefault(); close(input.value.trim()); } },
      h("p", {}, t("who.why")), h("label", { class: "field" }, h("span", {}, t("who.name")), input),
      h("div", { class: "row end" }, h("button", { type: "submit", class: "primary" }, t("ok"))));
  });
  if (name && name !== labeler()) {
    remember("labeler", name);
    dispatchEvent(new Event("labeler"));
    draw();
  }
}

let sent = 0;
function drawBanner() {
  const banner = document.getElementById("banner");
  const waiting = outbox.waiting().length;
  const shown = connection.lost || outbox.stuck;
  if (!shown && !banner.hidden) toast(sent ? t("banner.sent", { n: sent }) : t("banner.back"), "good");
  if (!shown) sent = 0;
  banner.hidden = !shown;
  document.body.classList.toggle("offline", shown);
  put(banner, shown && [h("b", {}, t("banner.lost")), " ", waiting ? t("banner.waiting", { n: waiting }) : t("banner.nothing")]);
}

connection.addEventListener("change", drawBanner);
outbox.addEventListener("change", drawBanner);
outbox.addEventListener("sent", () => { if (!document.getElementById("banner").hidden) sent += 1; });
outbox.addEventListener("refused", (event) => {
  const { entry, error } = event.detail;
  toast(t("outbox.refused", { id: entry.id ?? "", why: explain(error) }), "bad");
});
addEventListener("hashchange", draw);
addEventListener("ask-name", askName);
addEventListener("unhandledrejection", (event) => { toast(explain(event.reason), "bad"); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawTop);

draw();
outbox.flush();
if (!recall("labeler")) askName();
