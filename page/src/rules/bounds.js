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
  const column = state.table.numbers(rule.column);
  /** @type {Record<string, number>} */
  const quantiles = {};
  const tests = names.filter((name) => rule[name] !== undefined && rule[name] !== null).map((name) => {
    const value = rule[name];
    const bound = isQuantile(value)
      ? (quantiles[name] = quantileOfRest(state, rule.column, Number(String(value).slice(1))))
      : asStored(column, Number(value));
    return { test: TESTS[name], bound };
  });
  state.dropOthers(state.table.descending(rule.column));
  const reason = state.code(`dropped:${rule.column}`), { values } = column;
  for (let row = 0; row < values.length; row++) {
    if (!state.dropped[row] && !tests.every(({ test, bound }) => test(values[row], bound))) state.drop(row, reason);
  }
  return quantiles;
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
