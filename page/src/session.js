// What the page works on: table, pictures, captions, and the selections that recipes make of it.

import { binEdges, extentOf, histogramOf } from "./analysis/bins.js";
import { readCaptions } from "./data/captions.js";
import { Marks } from "./data/marks.js";
import { readPixels } from "./data/pixels.js";
import { select } from "./rules/select.js";
import { Store } from "./store.js";

/** @typedef {import("./rules/select.js").Rule} Rule */
/** @typedef {import("./rules/select.js").Selection} Selection */
/** @typedef {import("./rules/table.js").Table} Table */
/** @typedef {import("./analysis/bins.js").Histogram} Histogram */
/** @typedef {{selection: Selection, rules: Rule[], error: string | null}} Outcome */
/**
 * What the page is told of the set.
 * @typedef {object} Config
 * @property {string} title
 * @property {import("./data/parquet.js").Source[]} tables
 * @property {string[]} classNames
 * @property {boolean} hasBackground
 * @property {number[][]} palette RGB by index
 * @property {{name: string, rules: Rule[]}[]} recipes to begin with; the first one is shown
 * @property {Record<string, string>} definitions of columns
 * @property {any} pictures
 * @property {import("./data/captions.js").CaptionsConfig | null} captions
 * @property {import("./data/parquet.js").Source | null} pixels
 * @property {string[]} halves score columns of 16 bits
 * @property {string | null} marks where marks are sent
 * @property {string} scores what the command calls the table
 * @property {{heading: string, rows: {row: number, note: string}[]}[]} [sections] rows that matter, chosen before
 */

export class Session {
  /**
   * @param {Config} config
   * @param {Table} table
   * @param {(string | null)[] | null} errors
   * @param {import("./data/pictures.js").Pictures | null} pictures
   * @param {Store} store
   */
  constructor(config, table, errors, pictures, store) {
    this.config = config;
    this.table = table;
    this.errors = errors;
    this.pictures = pictures;
    this.store = store;
    this.marks = new Marks(config.marks);
    /** By row; null until they are read. @type {(string | null)[] | null} */
    this.captions = null;
    /** @type {import("./analysis/classes.js").Pixels | null} */
    this.pixels = null;
    /** What could not be read, for the person. @type {string[]} */
    this.notices = [];
    this._asksCaptions = false;
    /** @type {Map<string, import("./analysis/bins.js").Extent>} */
    this._extents = new Map();
    /** The last one of each score. @type {Map<string, {key: string, histogram: Histogram}>} */
    this._histograms = new Map();
    /** @type {Map<string, Outcome>} */
    this._outcomes = new Map();
  }

  readCaptions() {
    const { config, table } = this;
    if (!config.captions || this._asksCaptions) return;
    this._asksCaptions = true;
    this.late("the captions", readCaptions(config.captions, table).then((captions) => (this.captions = captions)));
  }

  readPixels() {
    const { config, table } = this;
    if (config.pixels) this.late("the pixels of the classes", readPixels(config.pixels, table.length).then((pixels) => (this.pixels = pixels)));
  }

  /**
   * Show something once it is read, or say that it could not be.
   * @param {string} what
   * @param {Promise<any>} reading
   */
  late(what, reading) {
    reading
      .catch((error) => this.notices.push(`${what} could not be read: ${error instanceof Error ? error.message : error}`))
      .then(() => this.store.set({}));
  }

  /**
   * What a recipe makes of the table; the last one that made sense if it does not.
   * @param {number} which
   * @returns {Outcome}
   */
  outcome(which) {
    const { rules } = this.store.state.recipes[which], key = JSON.stringify(rules);
    let outcome = this._outcomes.get(key);
    if (!outcome) {
      outcome = this._select(rules);
      this._outcomes.set(key, outcome);
      if (this._outcomes.size > 4) this._outcomes.delete(/** @type {string} */ (this._outcomes.keys().next().value));
    }
    return outcome;
  }

  /** @param {Rule[]} rules */
  _select(rules) {
    for (let count = rules.length, error = null; ; count--) {
      try {
        return { selection: select(this.table, rules.slice(0, count)), rules: rules.slice(0, count), error };
      } catch (problem) {
        error = `rule ${count} cannot be applied: ${problem instanceof Error ? problem.message : problem}`;
        if (!count) throw problem;
      }
    }
  }

  /**
   * @param {string} name of a score
   * @param {number[]} bounds at which there is an edge
   */
  histogram(name, bounds) {
    const key = JSON.stringify(bounds), before = this._histograms.get(name);
    if (before?.key === key) return before.histogram;
    const histogram = histogramOf(this.table.numbers(name).values, binEdges(this.extent(name), bounds));
    this._histograms.set(name, { key, histogram });
    return histogram;
  }

  /** @param {string} name of a score */
  extent(name) {
    let extent = this._extents.get(name);
    if (!extent) this._extents.set(name, (extent = extentOf(this.table.numbers(name).values)));
    return extent;
  }

  /** Score columns, those of the recipes' rules first. */
  get scores() {
    const read = JSON.stringify(this.store.state.recipes.map(({ rules }) => rules));
    const isRead = (/** @type {string} */ name) => Number(read.includes(JSON.stringify(name)));
    return this.table.scores.map((name, place) => ({ name, place })).sort((a, b) => isRead(b.name) - isRead(a.name) || a.place - b.place).map(({ name }) => name);
  }

  /** Columns that put rows into groups. */
  get groupColumns() {
    return Object.entries(this.table.columns).filter(([, column]) => column.kind !== "number" || column.precision === "whole").map(([name]) => name);
  }

  /** @param {number} row */
  classesOf(row) {
    const column = this.table.columns.classes_present;
    if (column?.kind !== "list") return [];
    return column.values.slice(column.offsets[row], column.offsets[row + 1]).map((id) => ({ id: Number(id), name: this.table.classNames[Number(id)] ?? String(id) }));
  }
}
