// Rules that keep a number or a share of all rows: the best by a score, by several, or drawn at random.

import { families, groupWithFamily, groupsBy } from "./columns.js";
import { cut, rank } from "./ranking.js";
import { combined, weakest } from "./ranks.js";
import { firstWords } from "./sha256.js";
import { State } from "./state.js";
import { Table } from "./table.js";

/** @typedef {{fraction?: number, target?: number}} Size */

/**
 * How many of `rows` stay; a share is rounded to the nearest, halves up, and is one row at least.
 * @param {Size} size
 * @param {number} rows
 */
export function countOf({ fraction, target }, rows) {
  return target != null ? Math.min(target, rows) : Math.max(rounded(Number(fraction), rows), 1);
}

/**
 * A fraction of a count, rounded halves up in decimals as a database does: 0.145 of 100 is 14.5, not a little less.
 * @param {number} fraction
 * @param {number} count
 */
function rounded(fraction, count) {
  const match = /^(\d*)\.?(\d*)$/.exec(String(fraction));
  if (!match || fraction < 1e-4) return Math.floor(fraction * count + 0.5);
  const scale = 10n ** BigInt(match[2].length);
  return Number((2n * BigInt(match[1] + match[2]) * BigInt(count) + scale) / (2n * scale));
}

/**
 * Keep the first rows of an order.
 * @param {State} state
 * @param {string} kind
 * @param {Size} size
 * @param {Int32Array} order rows that take part, best first
 * @param {(row: number) => [string, string]} why what is said of a row that leaves, and of that row alone
 */
export function keepFirst(state, kind, size, order, why = () => [`dropped:${kind}`, ""]) {
  state.dropOthers(order);
  const count = countOf(size, order.length), kept = state.code(`kept:${kind}`);
  const ranking = cut(state.table, rank(order, groupsBy(state.table, null)), () => count);
  order.forEach((row, place) => {
    if (place >= count) {
      const [reason, detail] = why(row);
      state.drop(row, state.code(reason), detail);
    } else if (!state.keptBy[row]) state.keptBy[row] = kept;
  });
  state.addRanking(kind, ranking);
}

/**
 * Keep the rows that rank best in several columns: by the worst of the ranks, or by their mean.
 * @param {State} state
 * @param {string} kind
 * @param {Size & {columns: string[], within?: string[] | string}} rule
 */
export function keepByRanks(state, kind, rule) {
  const ranks = { columns: rule.columns, within: rule.within ? families(rule.within) : [], worst: kind === "worst_rank" };
  const nameOf = (/** @type {string} */ family, /** @type {number | string | null} */ group) => groupWithFamily(state.table, family, group);
  const { order, noteOf } = combined(state, ranks, nameOf);
  keepFirst(state, kind, rule, order, (row) => {
    const note = noteOf(row);
    return note ? weakest(note, ranks.columns, nameOf) : [`dropped:${kind}`, ""];
  });
}

/**
 * Rows in a random order: by the first 60 bits of the SHA-256 of seed and id.
 * @param {Table} table
 * @param {number} seed
 */
export function drawn(table, seed) {
  return table.ordered(`random\n${seed}`, () => {
    const high = new Float64Array(table.length), low = new Uint32Array(table.length);
    table.ids.forEach((id, row) => {
      const [first, second] = firstWords(`${seed}|${id}`);
      high[row] = first;
      low[row] = second >>> 4;
    });
    const { places } = table;
    return Int32Array.from(table.ids.keys()).sort((a, b) => high[a] - high[b] || low[a] - low[b] || places[a] - places[b]);
  });
}
