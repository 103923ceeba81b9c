// Score columns in typed arrays, and the orders of their rows. No DOM: Node runs this too.

/**
 * Numbers by row; null is NaN, as in the library a NaN is a null.
 * @typedef {{kind: "number", values: Float64Array, precision: "half" | "single" | "double" | "whole"}} NumberColumn
 */
/**
 * Texts by row.
 * @typedef {{kind: "text", values: (string | null)[]}} TextColumn
 */
/**
 * Lists by row: those of row r are values[offsets[r]] up to values[offsets[r + 1]].
 * @typedef {{kind: "list", offsets: Int32Array, values: (number | string)[]}} ListColumn
 */
/** @typedef {NumberColumn | TextColumn | ListColumn} Column */
/**
 * Values of a column that were not computed, as no rule needed them: 1 by row; and what they lie between, NaN where that
 * is not known.
 * @typedef {{rows: Uint8Array, low: Float64Array | null, high: Float64Array | null}} Skipped
 */

/** The rows a selection works on, in the order of their numbers. */
export class Table {
  /**
   * @param {string[]} ids by row, each once
   * @param {Record<string, Column>} columns by name, all as long as `ids`
   * @param {Uint8Array | null} failed 1 for rows that could not be scored
   * @param {string[]} classNames by class index; empty if they are not known
   * @param {Record<string, Skipped>} skipped by column; only those with values that were not computed
   */
  constructor(ids, columns, failed = null, classNames = [], skipped = {}) {
    this.ids = ids;
    this.columns = columns;
    this.failed = failed;
    this.classNames = classNames;
    this.skipped = skipped;
    this.length = ids.length;
    /** @type {Map<string, Int32Array>} */
    this._orders = new Map();
    /** @type {Int32Array | null} */
    this._places = null;
    /** @type {Map<string, number> | null} */
    this._rows = null;
  }

  /** Names of the columns of scores: numbers that are not whole. */
  get scores() {
    return Object.keys(this.columns).filter((name) => {
      const column = this.columns[name];
      return column.kind === "number" && column.precision !== "whole";
    });
  }

  /**
   * A column of numbers.
   * @param {string} name
   * @returns {NumberColumn}
   */
  numbers(name) {
    const column = this.columns[name];
    if (!column) throw new Error(noColumn(name));
    if (column.kind !== "number") throw new Error(`a rule needs numbers; the column ${name} holds none`);
    return column;
  }

  /** Place of each row when rows are ordered by id: what decides between equal scores. */
  get places() {
    if (!this._places) {
      const order = Int32Array.from(this.ids.keys());
      if (!this.ids.every((id, row) => row === 0 || compareIds(this.ids[row - 1], id) < 0)) {
        order.sort((a, b) => compareIds(this.ids[a], this.ids[b]));
      }
      this._places = new Int32Array(this.length);
      for (let place = 0; place < order.length; place++) this._places[order[place]] = place;
    }
    return this._places;
  }

  /**
   * The rows that have a number in a column, highest first; equal ones by id. Sorted once, used by every rule.
   * @param {string} name
   */
  descending(name) {
    return this.ordered(name, () => {
      const { values } = this.numbers(name);
      return sortedRows(values, this.places, -1);
    });
  }

  /**
   * An order of rows that is made once.
   * @param {string} key what the order follows from
   * @param {() => Int32Array} make
   */
  ordered(key, make) {
    let order = this._orders.get(key);
    if (!order) this._orders.set(key, (order = make()));
    return order;
  }

  /**
   * The row of an id, -1 if there is none.
   * @param {string} id
   */
  rowOf(id) {
    this._rows ??= new Map(this.ids.map((name, row) => [name, row]));
    return this._rows.get(id) ?? -1;
  }
}

/**
 * What to say of a column that a rule reads and that is not there.
 * @param {string} name
 */
export function noColumn(name) {
  return `the table has no ${name}: compute it, or choose another column`;
}

/**
 * Rows of numbers in order, ties by place.
 * @param {Float64Array} values
 * @param {Int32Array} places
 * @param {1 | -1} direction 1 if the lowest comes first
 */
export function sortedRows(values, places, direction) {
  let count = 0;
  const rows = new Int32Array(values.length);
  for (let row = 0; row < values.length; row++) if (!Number.isNaN(values[row])) rows[count++] = row;
  return rows.subarray(0, count).sort((a, b) => {
    const x = values[a], y = values[b];
    return x < y ? -direction : x > y ? direction : places[a] - places[b];
  });
}

/**
 * Texts as bytes of UTF-8 are ordered: by code points, not by the halves JavaScript compares.
 * @param {string} a
 * @param {string} b
 */
export function compareIds(a, b) {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) {
    const x = a.charCodeAt(i), y = b.charCodeAt(i);
    if (x !== y) {
      const high = x >= 0xd800 && x <= 0xdfff, other = y >= 0xd800 && y <= 0xdfff;
      return high === other ? x - y : high ? 1 : -1;
    }
  }
  return a.length - b.length;
}

/**
 * A number to compare a column with, as exact as the column: a stored 0.8 is not above 0.8.
 * @param {NumberColumn} column
 * @param {number} value
 */
export function asStored(column, value) {
  if (column.precision === "half") return toHalf(value);
  return column.precision === "single" ? Math.fround(value) : value;
}

/**
 * The nearest number of 16 bits.
 * @param {number} value
 */
export function toHalf(value) {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || size >= 65520) return size >= 65520 ? Math.sign(value) * Infinity : value;
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 1)));
  for (const power of [exponent - 1, exponent, exponent + 1]) {
    if (size < 2 ** (power + 1) && (size >= 2 ** power || power <= -14)) {
      const step = 2 ** (Math.max(power, -14) - 10), steps = size / step, floor = Math.floor(steps), rest = steps - floor;
      return Math.sign(value) * step * (rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor);
    }
  }
  return value;
}
