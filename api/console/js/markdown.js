// A model card's Markdown as elements: headings, paragraphs, lists, tables, code, bold, links and the card's own pictures.

import { h } from "./dom.js";

const INLINE = /!\[([^\]]*)\]\(([^)]*)\)|\[([^\]]+)\]\((https?:[^)\s]+)\)|\*\*([^*]+)\*\*|`([^`]+)`/g;

function inline(text, pictures) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, picture, , linked, url, strong, code] = found;
    parts.push(text.slice(end, found.index));
    if (picture !== undefined) parts.push(pictures[picture] ? image(picture, pictures[picture]) : picture);
    else if (linked !== undefined) parts.push(h("a", { href: url, rel: "noopener noreferrer", target: "_blank" }, linked));
    else if (strong !== undefined) parts.push(h("strong", {}, strong));
    else parts.push(h("code", {}, code));
    end = found.index + whole.length;
  }
  return [...parts, text.slice(end)].filter((one) => one !== "");
}

function image(name, source) {
  return h("img", { src: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source)}`, alt: name, class: "picture" });
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((one) => one.trim());

/** `text` as a list of elements; `pictures` are SVG sources by name. The front matter between `---` is left out. */
export function markdown(text, pictures = {}) {
  const lines = text.replace(/^---\n[\s\S]*?\n---\n/, "").split("\n");
  const made = [];
  let at = 0;
  const while_ = (test) => {
    const taken = [];
    while (at < lines.length && test(lines[at])) taken.push(lines[at++]);
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at];
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (!line.trim()) at += 1;
    else if (heading) {
      made.push(h(`h${Math.min(6, heading[1].length + 2)}`, {}, inline(heading[2], pictures)));
      at += 1;
    } else if (line.startsWith("```")) {
      at += 1;
      made.push(h("pre", {}, while_((one) => !one.startsWith("```")).join("\n")));
      at += 1;
    } else if (line.trimStart().startsWith("|")) {
      const [head, , ...body] = while_((one) => one.trimStart().startsWith("|")).map(cells);
      made.push(h("div", { class: "scroll", tabindex: "0" }, h("table", {},
        h("thead", {}, h("tr", {}, head.map((one) => h("th", { scope: "col" }, inline(one, pictures))))),
        h("tbody", {}, body.map((row) => h("tr", {}, row.map((one) => h("td", {}, inline(one, pictures)))))))));
    } else if (/^\s*[-*]\s/.test(line)) {
      made.push(h("ul", {}, while_((one) => /^\s*[-*]\s/.test(one) || /^\s{2,}\S/.test(one))
        .reduce((items, one) => (/^\s*[-*]\s/.test(one) ? [...items, one.replace(/^\s*[-*]\s/, "")] : [...items.slice(0, -1), `${items.at(-1)} ${one.trim()}`]), [])
        .map((one) => h("li", {}, inline(one, pictures)))));
    } else {
      made.push(h("p", {}, inline(while_((one) => one.trim() && !/^(#|```|\||\s*[-*]\s)/.test(one.trimStart())).join(" "), pictures)));
      if (made.at(-1).childNodes.length === 0) at += 1; // nothing was taken: never stand still
    }
  }
  return made;
}
