// Small charts as SVG, drawn here. Each is named for screen readers; its numbers also stand in a table or text beside it.

import { h, svg } from "./dom.js";

const NARROW = 560;
let WIDTH = 640; // in the units of the text: on a narrow page fewer, so that text stays readable

function measure() {
  WIDTH = innerWidth < NARROW ? 340 : 640;
}

function frame(height, name, ...children) {
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": name }, ...children);
}

/** Horizontal bars: `rows` are `{name, value, shown, colour?}`; null is "no value yet". The text is real text at any width. */
export function bars(rows, { name, most }) {
  const top = most ?? Math.max(...rows.map((row) => Number(row.value ?? 0)), 1e-9);
  return h("div", { class: "bars", role: "img", "aria-label": `${name}: ${rows.map((row) => `${row.name} ${row.shown}`).join("; ")}` },
    rows.map((row) => [
      h("span", { class: "bar-name" }, row.name),
      svg("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
        svg("rect", { width: 100, height: 10, fill: "var(--track)" }),
        Number(row.value ?? 0) > 0 && svg("rect", { width: Math.max(0.6, Math.min(100, (100 * row.value) / top)), height: 10, fill: row.colour ?? "var(--serving)" })),
      h("span", { class: "bar-value" }, row.shown),
    ]));
}

/** Lines over the same steps: `series` are `{name, colour, points: [[x, y]]}`; values above `top` are drawn at it. */
export function lines(series, { name, format, height = 210, bottom = 0, top, xs = [] }) {
  measure();
  const every = series.flatMap((one) => one.points);
  if (!every.length) return null;
  const left = 54, right = 14, under = 26, over = 10;
  const low = bottom, high = top ?? Math.max(...every.map(([, y]) => y), low + 1e-9) * 1.08;
  const first = Math.min(...every.map(([x]) => x)), last = Math.max(...every.map(([x]) => x), first + 1e-9);
  const px = (x) => left + ((x - first) / (last - first)) * (WIDTH - left - right);
  const py = (y) => over + (1 - (Math.min(y, high) - low) / (high - low)) * (height - over - under);
  const steps = [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low));
  return frame(height, name,
    steps.map((value) => svg("g", {},
      svg("line", { x1: left, x2: WIDTH - right, y1: py(value), y2: py(value), stroke: "var(--line)" }),
      svg("text", { x: left - 8, y: py(value) + 4, "text-anchor": "end" }, format(value)))),
    xs.map(([x, text]) => svg("text", { x: px(x), y: height - 6, "text-anchor": "middle" }, text)),
    series.map((one) => svg("g", {},
      one.points.length > 1 && svg("polyline", { points: one.points.map(([x, y]) => `${px(x)},${py(y)}`).join(" "), fill: "none", stroke: one.colour, "stroke-width": 2.5, "stroke-linejoin": "round", "stroke-dasharray": one.dash }),
      one.points.length < 60 && one.points.map(([x, y]) => svg("circle", { cx: px(x), cy: py(y), r: 3.5, fill: one.colour }, svg("title", {}, `${one.name}: ${format(y)}`))))));
}

export function legend(entries) {
  return h("div", { class: "legend" }, entries.map(([name, colour]) => h("span", {}, h("i", { style: { background: colour } }), name)));
}

/** A square table of counts as shades: rows are the truth, columns the answers. */
export function heat(counts, names, { name, rows, columns }) {
  measure();
  const left = WIDTH < NARROW ? 74 : 112, top = 104, size = (WIDTH - left - 4) / names.length, cell = Math.min(size, 40);
  const height = top + names.length * cell + 22;
  const total = counts.map((row) => Math.max(1, row.reduce((sum, one) => sum + one, 0)));
  return frame(height, name,
    names.map((one, place) => svg("g", {},
      svg("text", { x: left - 8, y: top + place * cell + cell / 2 + 4, "text-anchor": "end" }, one),
      svg("text", { transform: `translate(${left + place * size + size / 2 + 4} ${top - 8}) rotate(-55)` }, one))),
    counts.flatMap((row, y) => row.map((count, x) => svg("g", {},
      svg("rect", { x: left + x * size + 1, y: top + y * cell + 1, width: size - 2, height: cell - 2, rx: 3, fill: "var(--raised)" }),
      count > 0 && svg("rect", { x: left + x * size + 1, y: top + y * cell + 1, width: size - 2, height: cell - 2, rx: 3, fill: x === y ? "var(--good-soft)" : "var(--bad-soft)", "fill-opacity": 0.35 + 0.65 * (count / total[y]) }),
      count > 0 && svg("text", { x: left + x * size + size / 2, y: top + y * cell + cell / 2 + 4, "text-anchor": "middle", class: "value" }, count)))),
    svg("text", { x: left, y: height - 4 }, `${rows} ↓  ${columns} →`));
}
