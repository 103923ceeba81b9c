// The order of rows by their ranks in several columns: by the worst of them, or by their mean.

import { groupsBy } from "./columns.js";
import { State } from "./state.js";
import { compareIds, sortedRows } from "./table.js";

/** @typedef {number | string} Group */
/** @typedef {import("./columns.js").Groups} Groups */
/**
 * What is weakest in a row: the column's place, twice its rank, the size of the group and the group, null for all rows.
 * @typedef {{place: number, twice: number, size: number, family: string, group: Group | null}} Note
 */
/** @typedef {{columns: string[], within: string[], worst: boolean}} Ranks */
/** @typedef {(family: string, group: Group | null) => string} Name */
/** @typedef {{order: Int32Array, noteOf: (row: number) => Note | null}} Combined rows that take part, best first */

/** Lines of a family: one a row and group, numbered as the groups' codes are; lower keys are better. */
export class RankLines {
  /**
   * In each column the highest score has rank 1, and rows of equal scores share the mean of their ranks; a rank r among
   * n rows counts as (r - 1/2) / n.
   * @param {State} state
   * @param {Ranks} ranks
   * @param {string | null} family column of the groups; all rows are one group if null
   */
  constructor({ table, dropped }, { columns, worst }, family) {
    this.family = family;
    this.groups = groupsBy(table, family);
    const values = columns.map((name) => table.numbers(name).values), { offsets, codes, names } = this.groups;
    this.takesPart = Uint8Array.from(dropped, (reason, row) => (reason || values.some((column) => Number.isNaN(column[row])) ? 0 : 1));
    this.keys = new Float64Array(codes.length);
    /** Which column is weakest, and twice its rank. */
    this.weakest = new Int8Array(codes.length);
    this.twice = new Int32Array(codes.length);
    this.sizes = new Int32Array(names.length);
    const all = columns.map((name) => this._twiceRanks(table.descending(name), table.numbers(name).values));
    for (let row = 0; row < table.length; row++) {
      if (!this.takesPart[row]) continue;
      for (let line = offsets[row]; line < offsets[row + 1]; line++) {
        let sum = 0;
        for (let place = 0; place < all.length; place++) {
          sum += all[place][line];
          if (all[place][line] > this.twice[line]) [this.twice[line], this.weakest[line]] = [all[place][line], place];
        }
        const size = this.sizes[codes[line]];
        this.keys[line] = worst ? (this.twice[line] - 1) / (2 * size) : (sum - all.length) / (2 * all.length * size);
      }
    }
  }

  /**
   * Twice the rank of every line by one column: the first and the last rank of equal scores, added.
   * @param {Int32Array} order highest first
   * @param {Float64Array} values
   */
  _twiceRanks(order, values) {
    const { offsets, codes, names } = this.groups, twice = new Int32Array(codes.length);
    const pass = (/** @type {(place: number) => number} */ at, /** @type {Int32Array} */ count, /** @type {1 | -1} */ step) => {
      const last = new Float64Array(names.length).fill(NaN), rank = new Int32Array(names.length);
      for (let place = 0; place < order.length; place++) {
        const row = order[at(place)];
        if (!this.takesPart[row]) continue;
        for (let line = offsets[row]; line < offsets[row + 1]; line++) {
          const group = codes[line];
          if (step > 0) count[group]++;
          if (values[row] !== last[group]) [last[group], rank[group]] = [values[row], count[group]];
          twice[line] += rank[group];
          if (step < 0) count[group]--;
        }
      }
      return count;
    };
    const sizes = pass((place) => place, new Int32Array(names.length), 1);
    this.sizes.set(sizes);
    pass((place) => order.length - 1 - place, sizes, -1);
    return twice;
  }

  /**
   * @param {number} line
   * @returns {Note}
   */
  note(line) {
    const group = this.groups.codes[line];
    return { place: this.weakest[line], twice: this.twice[line], size: this.sizes[group], family: this.family ?? "", group: this.family === null ? null : this.groups.names[group] };
  }
}

/**
 * All rows in one order; a row of several groups counts by its worst line, or by the mean of its lines.
 * @param {State} state
 * @param {Ranks} ranks
 * @param {Name} nameOf decides between lines that are equally bad
 * @returns {Combined}
 */
export function combined(state, ranks, nameOf) {
  const { table } = state, keys = new Float64Array(table.length).fill(NaN);
  const families = (ranks.within.length ? ranks.within : [null]).map((family) => new RankLines(state, ranks, family));
  const worstFamily = new Int8Array(table.length).fill(-1), worstLine = new Int32Array(table.length);
  for (let row = 0; row < table.length; row++) {
    let sum = 0, count = 0;
    families.forEach((family, number) => {
      const { offsets } = family.groups;
      if (!family.takesPart[row]) return;
      for (let line = offsets[row]; line < offsets[row + 1]; line++) {
        sum += family.keys[line];
        count++;
        const other = worstFamily[row];
        if (other < 0 || isWorse(family, line, families[other], worstLine[row], nameOf)) [worstFamily[row], worstLine[row]] = [number, line];
      }
    });
    if (!count) continue;
    const mean = ranks.within.length ? Math.round((sum / count) * 1e12) / 1e12 : sum;
    keys[row] = ranks.worst ? families[worstFamily[row]].keys[worstLine[row]] : mean;
  }
  const noteOf = (/** @type {number} */ row) => (ranks.worst && worstFamily[row] >= 0 ? families[worstFamily[row]].note(worstLine[row]) : null);
  return { order: sortedRows(keys, table.places, 1), noteOf };
}

/**
 * @param {RankLines} family
 * @param {number} line
 * @param {RankLines} other
 * @param {number} otherLine
 * @param {Name} nameOf
 */
function isWorse(family, line, other, otherLine, nameOf) {
  const key = family.keys[line] - other.keys[otherLine];
  if (key) return key > 0;
  const here = family.note(line), there = other.note(otherLine);
  const by = there.place - here.place || here.twice - there.twice || here.size - there.size;
  return by ? by > 0 : compareIds(nameOf(here.family, here.group), nameOf(there.family, there.group)) > 0;
}

/**
 * Why a row leaves, and what is said of that row alone.
 * @param {Note} note
 * @param {string[]} columns
 * @param {Name} nameOf
 * @returns {[string, string]}
 */
export function weakest({ place, twice, size, family, group }, columns, nameOf) {
  const where = group === null ? "" : ` in ${nameOf(family, group)}`;
  return [`dropped:${columns[place]} is the weakest`, `, rank ${twice / 2} of ${size}${where}`];
}
