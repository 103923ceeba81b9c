// Pictures of rows: kept, dropped, borderline, and those in which two recipes differ; filters, and how masks are drawn.

import { borderline } from "../analysis/borderline.js";
import { isEmpty, tester } from "../analysis/filter.js";
import { choice, h, later, renew } from "../dom.js";
import { counted, short, wordsOf } from "../recipe/labels.js";
import { shuffled } from "../analysis/sample.js";
import { pictureOf } from "./overlay.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../store.js").State} State */

const STEP = 24;
/** @type {[string, string, string][]} */
const TABS = [
  ["matter", "Rows that matter", "Those nearest to what decided, as they were when this file was made"],
  ["kept", "Kept", "Rows that every rule lets pass"], ["dropped", "Dropped", "Rows that a rule takes away"],
  ["borderline", "Borderline", "By rule, the rows nearest to its bound on either side; by group, the last in and the first out"],
  ["only-a", "Only A", "Rows that recipe A keeps and B does not"], ["only-b", "Only B", "Rows that recipe B keeps and A does not"],
];

export class Gallery {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this._tabs = h("div", { role: "tablist", "aria-label": "Which rows are shown" });
    this._filters = h("div", { class: "filters" });
    this._masks = h("div", { class: "masks" });
    this._tiles = h("div", { id: "tiles", role: "tabpanel", tabindex: -1, "aria-live": "off" });
    this.element = h("section", { class: "gallery", "aria-label": "Rows" }, h("h2", {}, "Rows"), this._tabs, this._masks, this._filters, this._tiles);
    this._drawn = "";
    this._drawLater = later(() => this._draw(), 120);
    /** Rows on show, in order; the row view goes along them. */
    this.rows = /** @type {number[]} */ ([]);
  }

  /**
   * @param {State} state
   * @param {State | null} before
   */
  update(state, before) {
    if (!before || before.recipes.length !== state.recipes.length || before.tab !== state.tab) this._drawTabs(state);
    if (!before || before.filter !== state.filter || before.sort !== state.sort || before.tab !== state.tab) this._drawFilters(state);
    if (!before || before.layer !== state.layer || before.opacity !== state.opacity || before.outline !== state.outline) this._drawMasks(state);
    if (before) this._drawLater();
    else this._draw();
  }

  /** @param {State} state */
  _drawTabs(state) {
    const tabs = TABS.filter(([name]) => (name === "matter" ? this.session.config.sections : !name.startsWith("only-") || state.recipes.length > 1));
    const move = (/** @type {KeyboardEvent} */ event, /** @type {number} */ place) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      const [name] = tabs[(place + by + tabs.length) % tabs.length];
      this._choose(name);
      /** @type {HTMLElement | null} */ (this._tabs.querySelector(`[data-key="tab-${name}"]`))?.focus();
    };
    renew(this._tabs, tabs.map(([name, label, title], place) => h("button", {
      type: "button", role: "tab", "data-key": `tab-${name}`, "aria-selected": String(state.tab === name), "aria-controls": "tiles", title,
      tabindex: state.tab === name ? 0 : -1, click: () => this._choose(name), keydown: (/** @type {KeyboardEvent} */ event) => move(event, place),
    }, label)));
  }

  /** @param {string} tab */
  _choose(tab) {
    this.session.store.set({ tab, tiles: STEP });
  }

  /** @param {State} state */
  _drawMasks(state) {
    const { store, pictures } = this.session;
    if (!pictures) return renew(this._masks, [h("p", { class: "empty" }, "No dataset was given, so there are no pictures: sds-hf explore SCORES DATASET shows them.")]);
    /** @type {[string, string][]} */
    const layers = [["mask", "given mask"], ["none", "no mask"]];
    if (pictures.references) layers.splice(1, 0, ["reference", "CLIP's reference mask"], ["difference", "where they differ"]);
    const opacity = h("input", { type: "range", min: 0, max: 1, step: 0.05, value: state.opacity, "data-key": "opacity", change: () => store.set({ opacity: Number(opacity.value) }) });
    const outline = h("input", { type: "checkbox", checked: state.outline, "data-key": "outline", change: () => store.set({ outline: outline.checked }) });
    return renew(this._masks, [
      choice({ label: "Mask", key: "layer", value: state.layer, options: layers, change: (layer) => store.set({ layer: /** @type {State["layer"]} */ (layer) }) }),
      h("label", {}, h("span", {}, "Opacity"), opacity), h("label", { class: "check" }, outline, "outline"),
    ]);
  }

  /** @param {State} state */
  _drawFilters({ filter, sort, tab }) {
    const { session } = this, { store, table, config } = session;
    const set = (/** @type {object} */ changes) => store.set({ filter: { ...store.state.filter, ...changes }, tiles: STEP });
    const search = (/** @type {"id" | "text"} */ name, /** @type {string} */ label) => {
      const input = h("input", { type: "search", value: filter[name] ?? "", "data-key": `filter-${name}`, size: 12, change: () => set({ [name]: input.value || undefined }) });
      return h("label", {}, h("span", {}, label), input);
    };
    const list = table.columns.classes_present, classes = list?.kind === "list" ? [...new Set(list.values.map(Number))].sort((a, b) => a - b) : [];
    const counts = list?.kind === "list" ? [...new Set(Array.from(table.ids, (_, row) => list.offsets[row + 1] - list.offsets[row]))].sort((a, b) => a - b) : [];
    const scores = session.scores, [scored = "", range = [null, null]] = Object.entries(filter.scores ?? {})[0] ?? [];
    const limit = (/** @type {number} */ side, /** @type {string} */ label) => {
      const input = h("input", { type: "number", step: "any", size: 5, "aria-label": `${label} ${scored}`, placeholder: label, value: range[side] ?? "", "data-key": `filter-limit-${side}`,
        change: () => set({ scores: { [scored]: range.map((old, place) => (place === side ? (input.value === "" ? null : Number(input.value)) : old)) } }) });
      return input;
    };
    /** @type {[string, string][]} */
    const orders = [["random", "drawn by chance"], ["row", "as in the table"], ...scores.flatMap((name) => /** @type {[string, string][]} */ ([[`-${name}`, `${name}, highest first`], [`+${name}`, `${name}, lowest first`]]))];
    renew(this._filters, [
      ["matter", "borderline"].includes(tab) ? null : choice({ label: "Order", key: "sort", value: sort, options: orders, change: (order) => store.set({ sort: order }) }),
      classes.length ? choice({ label: "Class", key: "filter-class", value: filter.class == null ? "" : String(filter.class), change: (value) => set({ class: value === "" ? undefined : Number(value) }),
        options: [["", "any"], ...classes.map((id) => /** @type {[string, string]} */ ([String(id), config.classNames[id] ?? String(id)]))] }) : null,
      counts.length ? choice({ label: "Classes", key: "filter-count", value: filter.count == null ? "" : String(filter.count), change: (value) => set({ count: value === "" ? undefined : Number(value) }),
        options: [["", "any number"], ...counts.map((count) => /** @type {[string, string]} */ ([String(count), String(count)]))] }) : null,
      choice({ label: "Score", key: "filter-score", value: scored, change: (name) => set({ scores: name ? { [name]: [null, null] } : undefined }), options: [["", "any"], ...scores.map((name) => /** @type {[string, string]} */ ([name, name]))] }),
      scored ? limit(0, "from") : null, scored ? limit(1, "to") : null,
      config.captions ? search("text", "Caption") : null, search("id", "Id"),
      isEmpty(filter) ? null : h("button", { type: "button", "data-key": "clear", click: () => set({ class: undefined, count: undefined, text: undefined, id: undefined, scores: undefined }) }, "Clear"),
    ]);
  }

  /** Pictures follow when the hand rests. */
  _draw() {
    const { session } = this, { state } = session.store, { selection, rules } = session.outcome(0);
    if (state.filter.text && session.config.captions && !session.captions) return; // they are on their way
    const test = tester(session.table, state.filter, session.captions);
    const shown = (/** @type {number} */ row) => test(row) && (session.config.pictures?.kind === "server" || !session.pictures || session.pictures.has(row));
    this._more = false;
    const sections = state.tab === "matter" ? matter(session.config.sections ?? [], shown) : state.tab === "borderline" ? borderline(selection, rules, shown)
      : [this._section(state, shown, test)];
    const drawn = JSON.stringify([sections, state.layer, state.opacity, state.outline, [...session.marks.byId.values()]]);
    if (drawn === this._drawn) return;
    this._drawn = drawn;
    this.rows = sections.flatMap(({ rows }) => rows.map(({ row }) => row));
    renew(this._tiles, [
      ...sections.flatMap(({ heading, rows }) => [h("h3", {}, heading), h("div", { class: "tiles" }, ...rows.map(({ row, note }) => this._tile(row, note)))]),
      this.rows.length ? null : h("p", { class: "empty" }, this._nothing(state)),
      this._more ? h("button", { type: "button", class: "more", "data-key": "more", click: () => session.store.set({ tiles: state.tiles + 2 * STEP }) }, "Show more") : null,
    ]);
  }

  _more = false;

  /**
   * @param {State} state
   * @param {(row: number) => boolean} shown
   * @param {(row: number) => boolean} test
   */
  _section(state, shown, test) {
    const { session } = this, { table } = session, { selection, rules } = session.outcome(0), first = selection.kept;
    const second = state.recipes[1] ? session.outcome(1).selection.kept : first;
    const wanted = { kept: (/** @type {number} */ row) => first[row], dropped: (/** @type {number} */ row) => !first[row],
      "only-a": (/** @type {number} */ row) => first[row] && !second[row], "only-b": (/** @type {number} */ row) => second[row] && !first[row] }[state.tab] ?? (() => false);
    let total = 0, hidden = 0;
    /** @type {{row: number, note: string}[]} */
    const rows = [];
    for (const row of this._order(state.sort)) {
      if (!wanted(row) || !test(row)) continue;
      total++;
      if (!shown(row)) hidden++;
      else if (rows.length < state.tiles) rows.push({ row, note: wordsOf(selection, rules, row) });
    }
    this._more = total - hidden > rows.length;
    const label = TABS.find(([name]) => name === state.tab)?.[1] ?? "", [, sort] = /^[-+](.*)$/.exec(state.sort) ?? [];
    return { heading: `${label}: ${counted(rows.length)} of ${counted(total)}${sort ? ` by ${sort}` : state.sort === "random" ? " drawn by chance" : ""}${hidden ? `; ${counted(hidden)} have no picture here` : ""}`, rows: sort ? rows.map(({ row, note }) => ({ row, note: `${sort} ${short(table.numbers(sort).values[row])} · ${note}` })) : rows };
  }

  /** @param {string} sort */
  *_order(sort) {
    const { table } = this.session, name = sort.slice(1);
    if (sort === "random") yield* table.ordered("shuffled", () => shuffled(table.length));
    else if (name in table.columns && /^[-+]/.test(sort)) yield* sort[0] === "-" ? table.descending(name) : table.ordered(`+${name}`, () => table.descending(name).toReversed());
    else for (let row = 0; row < table.length; row++) yield row;
  }

  /**
   * @param {number} row
   * @param {string} note
   */
  _tile(row, note) {
    const { session } = this, { store, table, marks } = session, id = table.ids[row], mark = marks.byId.get(id);
    return h("button", { type: "button", class: session.outcome(0).selection.kept[row] ? "tile kept" : "tile dropped", "data-key": `row-${id}`, "data-id": id, click: () => store.set({ open: id }) },
      pictureOf(session, row, false), h("span", { class: "id" }, mark ? h("span", { class: mark.mark ? "good" : "bad" }, mark.mark ? "✓ good " : "✗ bad ") : "", id),
      h("span", { class: "classes-of" }, session.classesOf(row).map(({ name }) => name).join(", ")), h("span", { class: "note" }, note));
  }

  /** @param {State} state */
  _nothing(state) {
    if (!isEmpty(state.filter)) return "No such row passes the filters: clear one of them.";
    if (state.tab === "matter") return "No rule had rows near what decided.";
    if (state.tab === "borderline") return "Borderline rows are those nearest to a rule's bound: drag one in a histogram or add a rule.";
    if (state.tab === "dropped") return "Nothing is dropped: drag a bound in a histogram or add a rule.";
    return state.tab === "kept" ? "Nothing is kept: move a bound back, or remove a rule." : "The two recipes do not differ here.";
  }
}

/**
 * The rows that matter that may be shown.
 * @param {{heading: string, rows: {row: number, note: string}[]}[]} sections
 * @param {(row: number) => boolean} shown
 */
function matter(sections, shown) {
  return sections.map(({ heading, rows }) => ({ heading, rows: rows.filter(({ row }) => shown(row)) })).filter(({ rows }) => rows.length);
}
