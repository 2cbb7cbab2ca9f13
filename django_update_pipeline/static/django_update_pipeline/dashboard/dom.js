/** Elements. Texts are set as text; nothing here parses markup. */

const SVG = "http://www.w3.org/2000/svg";

/** The element of an id; the template has them all. */
export const part = (id) => document.getElementById(id);

/** An element with a class, a text and children: `make("td", { class: "number", text: "3" })`. */
export function make(tag, options = {}, ...children) {
  return fill(document.createElement(tag), options, children);
}

/** The same of SVG. */
export function svg(tag, options = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), options, children);
}

function fill(element, options, children) {
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") element.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Sets a text only if it is another one, so that readers and selections are left alone. */
export function setText(element, text) {
  const next = String(text);
  if (element.textContent !== next) element.textContent = next;
}

/** A data attribute, likewise. */
export function setData(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}
