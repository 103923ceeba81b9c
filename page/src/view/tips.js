// A mark with a definition one hover, or one tab, away; it is shown above everything, also in a dialog or a part that scrolls.

import { h } from "../dom.js";

const GAP = 6; // pixels

/**
 * @param {string | undefined} text
 */
export function info(text) {
  return text ? h("button", { type: "button", class: "info", "aria-label": text, "data-tip": text }, "i") : "";
}

/** Show the definitions of marks from now on. */
export function showTips() {
  const tip = h("div", { class: "tip", popover: "manual", "aria-hidden": "true" });
  document.body.append(tip);
  /** @type {HTMLElement | null} */
  let mark = null;
  const place = () => {
    if (!mark?.isConnected) return tip.hidePopover();
    tip.textContent = mark.dataset.tip ?? "";
    tip.showPopover();
    const at = mark.getBoundingClientRect(), { width, height } = tip.getBoundingClientRect();
    const below = at.bottom + GAP + height < innerHeight;
    tip.style.left = `${Math.max(GAP, Math.min(at.left - 2 * GAP, innerWidth - width - GAP))}px`;
    tip.style.top = `${below ? at.bottom + GAP : Math.max(GAP, at.top - GAP - height)}px`;
  };
  const find = (/** @type {Event} */ event) => {
    const near = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
    mark = near instanceof HTMLElement ? near : null;
    place();
  };
  for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, find);
  document.addEventListener("scroll", () => mark && place(), true);
}
