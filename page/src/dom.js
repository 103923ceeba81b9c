// Elements without a framework. Text of others only ever becomes text.

/** @typedef {Node | string | number | null | undefined | false} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [props] attributes; functions are listeners, `value` and `checked` are set as properties
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  dress(element, props);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/**
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [props]
 * @param {...Node} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  dress(element, props);
  element.append(...children);
  return /** @type {SVGElementTagNameMap[K]} */ (element);
}

/**
 * @param {Element} element
 * @param {Record<string, any>} props
 */
export function dress(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) {
      if (!(name in { value: 0, checked: 0 })) element.removeAttribute(name);
    } else if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "value" || name === "checked") /** @type {any} */ (element)[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * A choice of a list.
 * @param {{label: string, key: string, options: [string, string][], value: string, change: (value: string) => void, hide?: boolean}} choice
 */
export function choice({ label, key, options, value, change, hide }) {
  const select = h("select", { "aria-label": hide ? label : null, "data-key": key, change: () => change(select.value) },
    ...options.map(([name, text]) => h("option", { value: name }, text)));
  select.value = value;
  return hide ? select : h("label", {}, h("span", {}, label), select);
}

/**
 * Make a part of the page anew; what had the focus has it again.
 * @param {HTMLElement} element
 * @param {Child[]} children
 */
export function renew(element, children) {
  const active = document.activeElement instanceof HTMLElement && element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  element.replaceChildren(...children.filter((child) => child instanceof Node || typeof child === "string").map((child) => /** @type {Node | string} */ (child)));
  if (active) /** @type {HTMLElement | null} */ (element.querySelector(`[data-key="${CSS.escape(active)}"]`))?.focus();
}

/**
 * Call a function once after the calls have ceased for a while.
 * @param {() => void} action
 * @param {number} wait milliseconds
 */
export function later(action, wait) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, wait);
  };
}

/**
 * Hand a text to the user as a file.
 * @param {string} name
 * @param {string} text
 */
export function download(name, text) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
