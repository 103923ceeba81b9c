// Ranks in groups: a line a row and group, and of several lines of a row the one it is listed under.

import { State } from "./state.js";
import { Table, compareIds } from "./table.js";

/** @typedef {number | string} Group */
/**
 * Lines in the order of their ranks.
 * @typedef {{rows: Int32Array, groups: Int32Array, ranks: Int32Array, sizes: Int32Array, names: Group[]}} Lines
 */

/**
 * Rank rows inside their groups.
 * @param {Iterable<number>} order rows that take part, best first
 * @param {(row: number) => readonly Group[]} groupsOf
 * @returns {Lines} `sizes` by group; groups are numbered in their order
 */
export function rank(order, groupsOf) {
  /** @type {Map<Group, number>} */
  const numbers = new Map();
  /** @type {{rows: number[], groups: number[], ranks: number[], sizes: number[]}} */
  const { rows, groups, ranks, sizes } = { rows: [], groups: [], ranks: [], sizes: [] };
  for (const row of order) {
    for (const name of groupsOf(row)) {
      let group = numbers.get(name);
      if (group === undefined) {
        numbers.set(name, (group = sizes.length));
        sizes.push(0);
      }
      rows.push(row);
      groups.push(group);
      ranks.push(++sizes[group]);
    }
  }
  const names = [...numbers.keys()], sorted = [...names.keys()].sort((a, b) => compareGroups(names[a], names[b]));
  const renumbered = new Int32Array(names.length);
  sorted.forEach((old, now) => (renumbered[old] = now));
  return {
    rows: Int32Array.from(rows), groups: Int32Array.from(groups, (group) => renumbered[group]),
    ranks: Int32Array.from(ranks), sizes: Int32Array.from(sorted, (old) => sizes[old]),
    names: sorted.map((old) => names[old]),
  };
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
    rank: new Int32Array(table.length), size: new Int32Array(table.length), cutoff: new Int32Array(table.length),
    group: /** @type {(Group | null)[]} */ (new Array(table.length).fill(null)),
  };
  for (let row = 0; row < table.length; row++) {
    const line = best[row];
    if (line < 0) continue;
    const group = lines.groups[line];
    ranking.rank[row] = lines.ranks[line];
    ranking.size[row] = lines.sizes[group];
    ranking.cutoff[row] = cutoffs[group];
    ranking.group[row] = lines.names[group];
  }
  return ranking;
}

/**
 * The rows of an order that are in.
 * @param {State} state
 * @param {Int32Array} order
 */
export function stillIn(state, order) {
  return order.filter((row) => !state.dropped[row]);
}

/**
 * @param {Group} a
 * @param {Group} b
 */
function compareGroups(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : compareIds(String(a), String(b));
}
