// Rows and pixels of each class, before and after the rules.

import { classCounts } from "../analysis/classes.js";
import { h, renew } from "../dom.js";
import { counted, percent } from "../recipe/labels.js";
import { swatch } from "./overlay.js";

/** @typedef {import("../session.js").Session} Session */

const LOST = 0.9; // as the library warns

export class Classes {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this.element = h("section", { class: "classes", "aria-label": "Classes" });
  }

  update() {
    const { session } = this, { store, config } = session;
    const counts = classCounts(session.table, session.outcome(0).selection.kept, session.pixels);
    const other = store.state.recipes[1] ? classCounts(session.table, session.outcome(1).selection.kept, null) : null;
    const sums = counts.reduce((sum, count) => [sum[0] + count.pixelsBefore, sum[1] + count.pixelsAfter], [0, 0]);
    const most = Math.max(1, ...counts.map(({ before }) => before));
    renew(this.element, [
      h("h2", {}, "Classes"),
      counts.length === 0 ? h("p", { class: "empty" }, "The table does not say which classes a row shows (classes_present).") : h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Rows by class" }, h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "class"), h("th", { scope: "col" }, "rows"), h("th", { scope: "col", class: "right" }, "before"), h("th", { scope: "col", class: "right" }, other ? "A" : "after"),
          other ? h("th", { scope: "col", class: "right" }, "B") : null, h("th", { scope: "col", class: "right" }, "stay"),
          session.pixels ? h("th", { scope: "col", class: "right", title: "share of the pixels of all classes, before and after" }, "pixels") : null)),
        h("tbody", {}, ...counts.map((count, place) => {
          const bar = h("span", { class: "bars", "aria-hidden": "true" }, h("i", { class: "all" }), h("i", { class: "kept" }));
          /** @type {HTMLElement} */ (bar.children[0]).style.width = `${(100 * count.before) / most}%`;
          /** @type {HTMLElement} */ (bar.children[1]).style.width = `${(100 * count.after) / most}%`;
          const filtered = store.state.filter.class === count.id;
          return h("tr", { class: count.after < (1 - LOST) * count.before ? "lost" : null },
            h("th", { scope: "row" }, h("button", { type: "button", class: "class", "data-key": `class-${count.id}`, "aria-pressed": String(filtered), title: "Show only rows with this class",
              click: () => store.set({ filter: { ...store.state.filter, class: filtered ? undefined : count.id } }) }, swatch(config.palette, count.id), count.name)),
            h("td", {}, bar), h("td", { class: "right" }, counted(count.before)), h("td", { class: "right" }, counted(count.after)),
            other ? h("td", { class: "right" }, counted(other[place].after)) : null, h("td", { class: "right" }, percent(count.after / count.before)),
            session.pixels ? h("td", { class: "right" }, `${percent(count.pixelsBefore / sums[0])} → ${percent(count.pixelsAfter / sums[1])}`) : null);
        })))),
    ]);
  }
}
