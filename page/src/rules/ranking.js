// Ranks in groups: a line a row and group, and of several lines of a row the one it is listed under.

import { State } from "./state.js";
import { Table } from "./table.js";

/** @typedef {number | string} Group */
/**
 * A line a row and group, in each group the best first; `sizes` and `names` by group.
 * @typedef {{rows: Int32Array, groups: Int32Array, ranks: Int32Array, sizes: Int32Array, names: Group[]}} Lines
 */

/**
 * Rank rows inside their groups.
 * @param {ArrayLike<number>} order rows that take part, best first
 * @param {import("./columns.js").Groups} groups
 * @returns {Lines} in the order of the rows
 */
export function rank(order, { offsets, codes, names }) {
  let count = 0;
  for (let place = 0; place < order.length; place++) count += offsets[order[place] + 1] - offsets[order[place]];
  const rows = new Int32Array(count), groups = new Int32Array(count);
  for (let place = 0, line = 0; place < order.length; place++) {
    const row = order[place];
    for (let at = offsets[row]; at < offsets[row + 1]; at++, line++) {
      rows[line] = row;
      groups[line] = codes[at];
    }
  }
  return ranked(rows, groups, names);
}

/**
 * Ranks of lines that are in order.
 * @param {Int32Array} rows
 * @param {Int32Array} groups
 * @param {Group[]} names
 * @returns {Lines}
 */
export function ranked(rows, groups, names) {
  const ranks = new Int32Array(rows.length), sizes = new Int32Array(names.length);
  for (let line = 0; line < rows.length; line++) ranks[line] = ++sizes[groups[line]];
  return { rows, groups, ranks, sizes, names };
}

/**
 * One line a row: the first group, in the groups' order, that keeps it, else the one it came closest in.
 * @param {Table} table
 * @param {Lines} lines
 * @param {(size: number, group: number) => number} cutoffOf the last rank that stays
 * @returns {import("./state.js").Ranking}
 */
export function cut(table, lines, cutoffOf) {
  const cutoffs = Int32Array.from(lines.sizes, cutoffOf);
  const best = new Int32Array(table.length).fill(-1); // a line by row
  const distance = (/** @type {number} */ line) => {
    const cutoff = cutoffs[lines.groups[line]];
    return lines.ranks[line] <= cutoff ? -1 : cutoff ? lines.ranks[line] / cutoff : Infinity;
  };
  for (let line = 0; line < lines.rows.length; line++) {
    const row = lines.rows[line], other = best[row];
    if (other < 0) best[row] = line;
    else {
      const here = distance(line), there = distance(other);
      if (here < there || (here === there && lines.groups[line] < lines.groups[other])) best[row] = line;
    }
  }
  const ranking = {
    lines, cutoffs, line: best,
    rank: new Int32Array(table.length), size: new Int32Array(table.length), cutoff: new Int32Array(table.length),
  };
  for (let row = 0; row < table.length; row++) {
    const line = best[row];
    if (line < 0) continue;
    const group = lines.groups[line];
    ranking.rank[row] = lines.ranks[line];
    ranking.size[row] = lines.sizes[group];
    ranking.cutoff[row] = cutoffs[group];
  }
  return ranking;
}

/**
 * The group that a row is listed under.
 * @param {import("./state.js").Ranking} ranking
 * @param {number} row one that is ranked
 */
export function groupOf({ lines, line }, row) {
  return lines.names[lines.groups[line[row]]];
}

/**
 * The rows of an order that are in.
 * @param {State} state
 * @param {Int32Array} order
 */
export function stillIn(state, order) {
  return order.filter((row) => !state.dropped[row]);
}
