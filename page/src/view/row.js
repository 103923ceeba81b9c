// One row: its picture and masks, every score, ranks, and why it is in or out. Keys 1 and 0 mark it good or bad.

import { nextToAsk } from "../analysis/sample.js";
import { choice, h, renew } from "../dom.js";
import { short, wordsOf } from "../recipe/labels.js";
import { pictureOf, swatch } from "./overlay.js";
import { rulesOf, scoresOf } from "./standing.js";

/** @typedef {import("../session.js").Session} Session */

export class RowView {
  /**
   * @param {Session} session
   * @param {() => number[]} neighbours rows of the gallery, in order
   */
  constructor(session, neighbours) {
    this.session = session;
    this.neighbours = neighbours;
    this.element = h("dialog", { class: "row", "aria-label": "Row", close: () => this.session.store.state.open !== null && this.session.store.set({ open: null }) });
    /** How rows are asked about; empty if none are. */
    this.asking = "";
    this._drawn = "";
    /** @type {{row: number, part: HTMLElement} | null} */
    this._shuffled = null;
    this.element.addEventListener("keydown", (event) => this._key(event));
    this.element.addEventListener("click", (event) => event.target === this.element && this.element.close());
  }

  update() {
    const { store, table } = this.session, { open } = store.state, row = open === null ? -1 : table.rowOf(open);
    if (row < 0) {
      if (this.element.open) this.element.close();
      this._drawn = "";
      return;
    }
    const { recipes, layer, opacity, outline } = store.state, mark = this.session.marks.byId.get(/** @type {string} */ (open));
    const drawn = JSON.stringify([open, recipes, layer, opacity, outline, mark, this.asking, Boolean(this.session.captions)]);
    if (drawn !== this._drawn) {
      this._drawn = drawn;
      renew(this.element, this._parts(row, /** @type {string} */ (open)));
    }
    if (!this.element.open) this.element.showModal();
  }

  /**
   * @param {number} row
   * @param {string} id
   */
  _parts(row, id) {
    const { session } = this, { store, marks, pictures } = session, { selection, rules } = session.outcome(0), mark = marks.byId.get(id);
    const layers = !pictures ? [] : pictures.references ? ["mask", "reference", "difference"] : ["mask"];
    const caption = session.captions?.[row], problem = session.errors?.[row];
    const button = (/** @type {boolean} */ good, /** @type {string} */ label) =>
      h("button", { type: "button", "data-key": `mark-${good}`, class: good ? "good" : "bad", "aria-pressed": String(mark?.mark === good), click: () => this.mark(mark?.mark === good ? null : good) }, label);
    return [
      h("div", { class: "head" }, h("h2", {}, id),
        h("button", { type: "button", "data-key": "previous", "aria-label": "Previous row", click: () => this._step(-1) }, "←"),
        h("button", { type: "button", "data-key": "next", "aria-label": "Next row", click: () => this._step(1) }, "→"),
        h("button", { type: "button", "data-key": "shut", "aria-label": "Close", click: () => this.element.close() }, "✕")),
      h("div", { class: pictures ? "sides" : null },
        h("div", { class: "pictures" },
          pictures ? h("figure", {}, pictureOf(session, row, true, "none"), h("figcaption", {}, "picture")) : null,
          ...layers.map((layer) => h("figure", {}, pictureOf(session, row, true, layer), h("figcaption", {}, { mask: "given mask", reference: "CLIP's reference mask", difference: "where they differ" }[layer]))),
          pictures?.shuffles ? this._shuffles(row) : null),
        h("div", {},
          h("p", { class: selection.kept[row] ? "verdict kept" : "verdict dropped" }, h("strong", {}, selection.kept[row] ? "Kept" : "Dropped"), ` – ${wordsOf(selection, rules, row)}`),
          store.state.recipes[1] ? h("p", { class: "verdict" }, `Recipe B: ${session.outcome(1).selection.kept[row] ? "kept" : "dropped"} – ${wordsOf(session.outcome(1).selection, session.outcome(1).rules, row)}`) : null,
          problem ? h("p", { class: "problem" }, problem) : null,
          caption ? h("p", { class: "caption" }, caption) : null,
          h("p", { class: "classes-of" }, ...session.classesOf(row).flatMap(({ id: index, name }) => [swatch(session.config.palette, index), `${name}  `])),
          h("div", { class: "mark" }, button(true, "Good (1)"), button(false, "Bad (0)"),
            choice({ label: "Ask me about", key: "asking", value: this.asking, change: (how) => this.ask(how),
              options: [["", "nothing: I choose"], ...[...marks.samples.keys()].map((name) => /** @type {[string, string]} */ ([`sample ${name}`, `the ${name} sample`])), ["kept", "kept rows, drawn by chance"]] })),
          scoresOf(session, row), rulesOf(session, row))),
    ];
  }

  /** @param {number} row */
  _shuffles(row) {
    if (this._shuffled?.row === row) return this._shuffled.part;
    const part = h("details", { class: "shuffles" }, h("summary", { "data-key": "shuffles" }, "Shuffled, with their similarities"));
    part.addEventListener("toggle", async () => {
      if (!part.open || part.children.length > 1) return;
      const waiting = h("p", { class: "quiet" }, "CLIP is looking …");
      part.append(waiting);
      try {
        const answer = await fetch(`rows/${row}/shuffles`);
        if (!answer.ok) throw new Error(await answer.text());
        const versions = /** @type {{image: string, similarity: number, scale: number | null}[]} */ (await answer.json());
        waiting.replaceWith(h("div", { class: "tiles" }, ...versions.map(({ image, similarity, scale }) => h("figure", {}, h("img", { src: image, alt: "" }), h("figcaption", {}, `${scale ? `tiles of ${scale}` : "intact"}: ${short(similarity)}`)))));
      } catch (error) {
        waiting.textContent = error instanceof Error ? error.message : String(error);
      }
    });
    this._shuffled = { row, part };
    return part;
  }

  /** @param {number} by */
  _step(by) {
    const rows = this.neighbours(), { store, table } = this.session, here = rows.indexOf(table.rowOf(store.state.open ?? ""));
    if (rows.length) store.set({ open: table.ids[rows[(here + by + rows.length) % rows.length]] });
  }

  /** @param {string} how */
  ask(how) {
    this.asking = how;
    if (how) this._next();
    else this.update();
  }

  _next() {
    const { table, marks, store } = this.session;
    const sample = this.asking.startsWith("sample ") ? marks.samples.get(this.asking.slice(7)) ?? [] : null;
    const row = nextToAsk(table, this.session.outcome(0).selection.kept, sample, (id) => marks.byId.has(id));
    if (row < 0) this.asking = "";
    store.set({ open: row < 0 ? null : table.ids[row] });
  }

  /** @param {boolean | null} good */
  async mark(good) {
    const { store, marks } = this.session, { open } = store.state;
    if (open === null) return;
    try {
      await marks.set(open, good);
      if (this.asking && good !== null) this._next();
      else store.set({});
    } catch (error) {
      this.element.append(h("p", { class: "problem", role: "alert" }, error instanceof Error ? error.message : String(error)));
    }
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
    if (event.key === "1" || event.key === "0") this.mark(event.key === "1");
    else if (event.key === "ArrowLeft") this._step(-1);
    else if (event.key === "ArrowRight") this._step(1);
    else return;
    event.preventDefault();
  }
}
