// The rule that keeps the best of each group.

import { families, groupLabel, groupName, groupWithFamily, groupsBy } from "./columns.js";
import { cut, rank, ranked, stillIn } from "./ranking.js";
import { RankLines, combined, weakest } from "./ranks.js";
import { State } from "./state.js";

/** @typedef {import("./ranking.js").Lines} Lines */
/** @typedef {import("./ranks.js").Note} Note */
/**
 * @typedef {{column?: string, worst_rank?: string[], rank_mean?: string[], within?: string[] | string,
 *   by: string[] | string, fraction?: number, target?: number}} PerGroup
 */

/**
 * @param {State} state
 * @param {PerGroup} rule
 */
export function topPerGroup(state, rule) {
  const { table } = state, by = families(rule.by), { order, noteOf, ranks } = orderOf(state, rule);
  state.dropOthers(order);
  const lines = by.map((name) => (ranks?.within.includes(name) ? ownRanks(state, ranks, name) : { ...rank(order, groupsBy(table, name)), lineNote: null }));
  const cutoffOf = cutoffs(rule, lines, table.length);
  const rankings = lines.map((family) => cut(table, family, cutoffOf)), labels = by.map((name) => groupLabel(name, by));
  const keptBy = lines.map(({ names }, place) => names.map((name) => state.code(`kept:${labels[place]}=${groupName(table, by[place], name)}`)));
  /** @type {number[]} */
  const left = [];
  let kept = 0;
  for (const row of order) {
    const family = rankings.findIndex(({ rank: ranks, cutoff }) => ranks[row] > 0 && ranks[row] <= cutoff[row]);
    if (family < 0) {
      left.push(row);
      continue;
    }
    kept++;
    if (!state.keptBy[row]) state.keptBy[row] = keptBy[family][lines[family].groups[rankings[family].line[row]]];
  }
  const missing = rule.target == null ? 0 : rule.target - kept, filled = state.code("kept:filled");
  left.forEach((row, place) => {
    if (place >= missing) dropRow(row);
    else if (!state.keptBy[row]) state.keptBy[row] = filled;
  });
  rankings.forEach((ranking, place) => state.addRanking(labels[place], ranking));

  /** @param {number} row */
  function dropRow(row) {
    const family = rankings.findIndex(({ line }) => line[row] >= 0);
    const note = family < 0 ? null : (lines[family].lineNote ?? (() => noteOf(row)))(rankings[family].line[row]);
    const [reason, detail] = note && ranks ? weakest(note, ranks.columns, (name, group) => groupWithFamily(table, name, group)) : ["dropped:top_fraction", ""];
    state.drop(row, state.code(reason), detail);
  }
}

/**
 * Rows that have what the rule orders by, best first.
 * @param {State} state
 * @param {PerGroup} rule
 * @returns {{order: Int32Array, noteOf: (row: number) => Note | null, ranks: import("./ranks.js").Ranks | null}}
 */
export function orderOf(state, { column, worst_rank: worst, rank_mean: mean, within }) {
  const columns = worst ?? mean;
  if (!columns) return { order: stillIn(state, state.table.descending(String(column))), noteOf: () => null, ranks: null };
  const ranks = { columns, within: within ? families(within) : [], worst: Boolean(worst) };
  return { ...combined(state, ranks, (name, group) => groupWithFamily(state.table, name, group)), ranks };
}

/**
 * Groups that are each ordered by the ranks in that group.
 * @param {State} state
 * @param {import("./ranks.js").Ranks} ranks
 * @param {string} name
 */
function ownRanks(state, ranks, name) {
  const { places } = state.table, family = new RankLines(state, ranks, name), { offsets, codes, names } = family.groups, { keys } = family;
  const rowOf = new Int32Array(codes.length);
  for (let row = 0; row < state.table.length; row++) rowOf.fill(family.takesPart[row] ? row : -1, offsets[row], offsets[row + 1]);
  const lines = Int32Array.from(codes.keys()).filter((line) => rowOf[line] >= 0).sort((a, b) => keys[a] - keys[b] || places[rowOf[a]] - places[rowOf[b]]);
  const lineNote = (/** @type {number} */ line) => (ranks.worst ? family.note(lines[line]) : null);
  return { ...ranked(lines.map((line) => rowOf[line]), lines.map((line) => codes[line]), names), lineNote };
}

/**
 * How many rows of a group of a size stay.
 * @param {PerGroup} rule
 * @param {Lines[]} lines
 * @param {number} rows of the table
 * @returns {(size: number) => number}
 */
function cutoffs({ fraction, target }, lines, rows) {
  if (target == null) return (size) => Math.ceil(Number(fraction) * size - 1e-9);
  // A group of g rows keeps its row of rank r once the fraction exceeds (r - 1) / g.
  const enters = new Float64Array(rows).fill(Infinity);
  for (const family of lines) {
    family.rows.forEach((row, line) => {
      enters[row] = Math.min(enters[row], (family.ranks[line] - 1) / family.sizes[family.groups[line]]);
    });
  }
  const first = enters.filter((share) => share < Infinity).sort()[target];
  if (first === undefined) return (size) => size;
  let better = 0, divisor = Infinity;
  for (const family of lines) {
    family.ranks.forEach((ranked, line) => {
      const size = family.sizes[family.groups[line]];
      if ((ranked - 1) / size === first && size < divisor) [better, divisor] = [ranked - 1, size];
    });
  }
  return (size) => Math.floor((better * size + divisor - 1) / divisor);
}
