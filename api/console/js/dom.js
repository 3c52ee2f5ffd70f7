// Making elements. Text only ever becomes a text node, so that what a user typed is shown as typed and never read as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

/** An HTML element: `h("p", {class: "x", onclick: f}, "text", child)`. Children that are null or false are left out. */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** Put `children` in the place of what `element` holds. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

/** Whether a key press belongs to a field that is being written in. */
export function isTyping(event) {
  const target = event.target;
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return true;
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName)) return true;
  return target.tagName === "INPUT" && !["checkbox", "radio", "button"].includes(target.type);
}

/** Call `work` once, `wait` ms after the last of a flurry of calls. */
export function settle(work, wait = 250) {
  let timer = 0;
  const later = (...given) => { clearTimeout(timer); timer = setTimeout(() => work(...given), wait); };
  later.cancel = () => clearTimeout(timer);
  return later;
}
