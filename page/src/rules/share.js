// Rules that keep a number or a share of all rows: the best by a score, by several, or drawn at random.

import { cut, rank, stillIn } from "./ranking.js";
import { firstWords } from "./sha256.js";
import { State } from "./state.js";
import { Table, sortedRows } from "./table.js";

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
 * @param {string[]} reads columns without which a row leaves
 * @param {() => Int32Array} orderOf the order of rows, once those have left
 */
export function keepFirst(state, kind, size, reads, orderOf) {
  state.dropNulls(reads);
  const order = stillIn(state, orderOf()), count = countOf(size, order.length);
  const ranking = cut(state.table, rank(order, () => [1]), () => count);
  const kept = state.code(`kept:${kind}`), dropped = state.code(`dropped:${kind}`);
  order.forEach((row, place) => {
    if (place >= count) state.drop(row, dropped);
    else if (!state.keptBy[row]) state.keptBy[row] = kept;
  });
  state.rankings.set(kind, ranking);
}

/**
 * Rows by twice the mean, or by twice the worst, of their ranks in several columns; in each the highest has rank 1, and
 * rows of equal scores share the mean of their ranks.
 * @param {State} state
 * @param {string[]} columns
 * @param {"mean" | "worst"} joined
 */
export function byRanks(state, columns, joined = "mean") {
  const { table } = state, keys = new Float64Array(table.length);
  for (const name of columns) {
    const order = stillIn(state, table.descending(name)), { values } = table.numbers(name);
    for (let first = 0, next = 0; first < order.length; first = next) {
      while (next < order.length && values[order[next]] === values[order[first]]) next++;
      for (let place = first; place < next; place++) {
        const twice = first + 1 + next, row = order[place];
        keys[row] = joined === "mean" ? keys[row] + twice : Math.max(keys[row], twice);
      }
    }
  }
  return sortedRows(keys, table.places, 1);
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
