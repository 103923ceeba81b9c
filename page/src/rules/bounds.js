// Rules that keep rows whose score lies beyond a bound or between two.

import { quantileOf } from "./quantiles.js";
import { State } from "./state.js";
import { asStored } from "./table.js";

/** @typedef {{column: string, above?: number | string, below?: number | string, low?: number | string, high?: number | string}} Bounds */

/** How a row that stays compares, by the bound's name. */
export const SIGNS = { above: ">", below: "<", low: ">=", high: "<=" };
const TESTS = {
  above: (/** @type {number} */ value, /** @type {number} */ bound) => value > bound,
  below: (/** @type {number} */ value, /** @type {number} */ bound) => value < bound,
  low: (/** @type {number} */ value, /** @type {number} */ bound) => value >= bound,
  high: (/** @type {number} */ value, /** @type {number} */ bound) => value <= bound,
};

/** @param {unknown} value */
export function isQuantile(value) {
  return typeof value === "string" && value.startsWith("q");
}

/**
 * @param {State} state
 * @param {Bounds} rule
 * @param {("above" | "below" | "low" | "high")[]} names of its bounds
 * @returns {Record<string, number>} what quantiles came to
 */
export function applyBounds(state, rule, names) {
  const column = state.table.numbers(rule.column), values = decidingValues(state.table, rule.column);
  /** @type {Record<string, number>} */
  const quantiles = {};
  const tests = names.filter((name) => rule[name] !== undefined && rule[name] !== null).map((name) => {
    const value = rule[name];
    const bound = isQuantile(value)
      ? (quantiles[name] = quantileOfRest(state, rule.column, Number(String(value).slice(1))))
      : asStored(column, Number(value));
    return { test: TESTS[name], bound };
  });
  state.dropOthers(Int32Array.from(values.keys()).filter((row) => !Number.isNaN(values[row])));
  const reason = state.code(`dropped:${rule.column}`);
  for (let row = 0; row < values.length; row++) {
    if (!state.dropped[row] && !tests.every(({ test, bound }) => test(values[row], bound))) state.drop(row, reason);
  }
  return quantiles;
}

/**
 * The numbers of a column, with an end of its interval for one that was not computed, which decides as the number does.
 * @param {import("./table.js").Table} table
 * @param {string} name
 */
function decidingValues(table, name) {
  const { values } = table.numbers(name), { rows, high } = table.skipped[name] ?? {};
  return rows && high ? values.map((value, row) => (rows[row] ? high[row] : value)) : values;
}

/**
 * Whether bounds need a number that was not computed: those that are quantiles do, others where its interval is on both sides.
 * @param {import("./table.js").Table} table
 * @param {Bounds} rule
 * @param {number} row
 */
export function needNumber(table, rule, row) {
  const { low, high } = table.skipped[rule.column], column = table.numbers(rule.column);
  const bounds = /** @type {(keyof typeof TESTS)[]} */ (Object.keys(TESTS)).filter((name) => rule[name] !== undefined && rule[name] !== null);
  if (!low || !high || Number.isNaN(low[row]) || Number.isNaN(high[row]) || bounds.some((name) => isQuantile(rule[name]))) return true;
  const ends = bounds.map((name) => [low, high].map((end) => TESTS[name](end[row], asStored(column, Number(rule[name])))));
  return !ends.every(([atLow, atHigh]) => atLow && atHigh) && !ends.some(([atLow, atHigh]) => !atLow && !atHigh);
}

/**
 * A quantile of the rows still in.
 * @param {State} state
 * @param {string} name
 * @param {number} share
 */
export function quantileOfRest(state, name, share) {
  const order = state.table.descending(name), { values } = state.table.numbers(name);
  let count = 0;
  const ascending = new Float64Array(order.length);
  for (let place = order.length - 1; place >= 0; place--) {
    if (!state.dropped[order[place]]) ascending[count++] = values[order[place]];
  }
  return count ? quantileOf(ascending.subarray(0, count), share) : 0;
}
