// A sample that covers the whole range of a score.

import { cut, groupOf, ranked, stillIn } from "./ranking.js";
import { countOf, drawn } from "./share.js";
import { State } from "./state.js";

/** @typedef {{column: string, fraction?: number, target?: number, strata?: number, drop_lowest?: number, seed?: number}} Strata */

/**
 * Drop the lowest scores, then draw about as many rows from every part of the range that is left.
 * @param {State} state
 * @param {Strata} rule
 */
export function stratified(state, { column, fraction, target, strata = 50, drop_lowest: share = 0.1, seed = 0 }) {
  const { table } = state, { values } = table.numbers(column);
  const order = stillIn(state, table.descending(column));
  state.dropOthers(order);
  const budget = countOf({ fraction, target }, order.length);
  const above = order.length - Math.trunc(share * order.length + 1e-9);
  const lowest = state.code("dropped:lowest"), dropped = state.code("dropped:stratified");
  for (const row of order.subarray(above)) state.drop(row, lowest);
  const stratumOf = stratum(order.subarray(0, above), values, strata);
  const rows = stillIn(state, drawn(table, seed)), lines = ranked(rows, rows.map(stratumOf), [...new Array(strata).keys()]);
  const budgets = budgetsOf([...lines.sizes], budget), ranking = cut(table, lines, (_, group) => budgets[group]);
  for (const row of lines.rows) {
    if (ranking.rank[row] > ranking.cutoff[row]) state.drop(row, dropped);
    else if (!state.keptBy[row]) state.keptBy[row] = state.code(`kept:stratum=${groupOf(ranking, row)}`);
  }
  state.addRanking("stratum", ranking);
}

/**
 * The stratum of a row, from 0; infinite scores belong to the first or the last.
 * @param {Int32Array} rows
 * @param {Float64Array} values
 * @param {number} strata
 * @returns {(row: number) => number}
 */
function stratum(rows, values, strata) {
  let low = Infinity, high = -Infinity;
  for (const row of rows) {
    if (!Number.isFinite(values[row])) continue;
    low = Math.min(low, values[row]);
    high = Math.max(high, values[row]);
  }
  if (!(high > low)) return () => 0;
  const width = (high + 1e-4 * Math.abs(high) - low) / strata;
  return (row) => Math.min(Math.max(Math.floor((values[row] - low) / width), 0), strata - 1);
}

/**
 * How many rows each stratum gives.
 * @param {number[]} sizes
 * @param {number} budget
 */
export function budgetsOf(sizes, budget) {
  const budgets = new Array(sizes.length).fill(0);
  const smallest = [...sizes.keys()].sort((a, b) => sizes[a] - sizes[b] || a - b);
  smallest.forEach((number, position) => {
    budgets[number] = Math.min(sizes[number], Math.floor(budget / (sizes.length - position)));
    budget -= budgets[number];
  });
  return budgets;
}
