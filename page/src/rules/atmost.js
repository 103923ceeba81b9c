// The rule that keeps at most a number of rows of each group.

import { families, groupLabel, groupName, groupsBy } from "./columns.js";
import { orderOf } from "./groups.js";
import { stillIn } from "./ranking.js";
import { drawn } from "./share.js";
import { State } from "./state.js";
import { compareIds } from "./table.js";

/** @typedef {import("./groups.js").PerGroup & {rows: number, seed?: number}} AtMost */
/** Lines of rows, one for each of a row's groups, from the best row to the worst. @typedef {{row: number, group: number}[]} Lines */

/**
 * Rows are taken from the best to the worst, each if none of its groups is full; a row in no group stays.
 * @param {State} state
 * @param {AtMost} rule
 */
export function atMostPerGroup(state, rule) {
  const { table } = state, by = families(rule.by);
  const order = rule.column || rule.worst_rank || rule.rank_mean ? orderOf(state, rule).order : stillIn(state, drawn(table, rule.seed ?? 0));
  state.dropOthers(order);
  state.orders.set(state.step, order);
  /** @type {string[]} */
  const names = [];
  const groups = by.map((column) => {
    const first = names.length, { offsets, codes, names: own } = groupsBy(table, column);
    own.forEach((group) => names.push(`${groupLabel(column, by)}=${groupName(table, column, group)}`));
    return { first, offsets, codes };
  });
  /** @type {Lines} */
  let undecided = [];
  for (const row of order) {
    for (const { first, offsets, codes } of groups) {
      for (let line = offsets[row]; line < offsets[row + 1]; line++) undecided.push({ row, group: first + codes[line] });
    }
  }
  const room = new Float64Array(names.length).fill(rule.rows);
  while (undecided.length) undecided = decide(state, undecided, room, names);
}

/**
 * Take the rows that all their groups have room for whatever becomes of worse ones; drop those of full groups.
 * @param {State} state
 * @param {Lines} undecided
 * @param {Float64Array} room by group
 * @param {string[]} names of groups
 * @returns {Lines} what is still undecided
 */
function decide(state, undecided, room, names) {
  const ranks = new Int32Array(names.length), stays = new Uint8Array(state.table.length);
  for (const { row } of undecided) stays[row] = 1;
  for (const { row, group } of undecided) if (++ranks[group] > room[group]) stays[row] = 0;
  for (const { row, group } of undecided) if (stays[row]) room[group]--;
  /** @type {Map<number, string>} the group named for a row: the first by name */
  const full = new Map();
  for (const { row, group } of undecided) {
    if (stays[row] || room[group] > 0) continue;
    const other = full.get(row);
    if (other === undefined || compareIds(names[group], other) < 0) full.set(row, names[group]);
  }
  for (const [row, name] of full) state.drop(row, state.code(`dropped:${name} is full`));
  return undecided.filter(({ row }) => !stays[row] && !full.has(row));
}
