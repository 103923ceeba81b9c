// The rules of a recipe in order, over a table of scores: the same rows and reasons as `sds-hf select` gives.

import { atMostPerGroup } from "./atmost.js";
import { applyBounds } from "./bounds.js";
import { topPerGroup } from "./groups.js";
import { stillIn } from "./ranking.js";
import { drawn, keepByRanks, keepFirst } from "./share.js";
import { checkComputed } from "./skipped.js";
import { State } from "./state.js";
import { stratified } from "./strata.js";
import { Table } from "./table.js";

/**
 * A rule as a recipe writes it: its kind with its settings.
 * @typedef {Record<string, any>} Rule
 */
/** @typedef {{before: number, after: number, dropped: Record<string, number>, bounds: Record<string, number>}} Step */
/** @typedef {{state: State, steps: Step[], kept: Uint8Array, count: number}} Selection */

/** @type {Record<string, (state: State, rule: any) => Record<string, number> | void>} */
const KINDS = {
  threshold: (state, rule) => applyBounds(state, rule, ["above", "below"]),
  band: (state, rule) => applyBounds(state, rule, ["low", "high"]),
  top_k: (state, rule) => keepFirst(state, "top_k", rule, stillIn(state, state.table.descending(rule.column))),
  worst_rank: (state, rule) => keepByRanks(state, "worst_rank", rule),
  rank_mean: (state, rule) => keepByRanks(state, "rank_mean", rule),
  random: (state, rule) => keepFirst(state, "random", rule, stillIn(state, drawn(state.table, rule.seed ?? 0))),
  top_per_group: topPerGroup,
  at_most_per_group: atMostPerGroup,
  stratified,
};

/** Kinds of rules that the page knows. */
export const RULE_KINDS = Object.keys(KINDS);

/**
 * @param {Rule} rule
 * @returns {[string, any]} its kind and its settings
 */
export function parts(rule) {
  return /** @type {[string, any]} */ (Object.entries(rule)[0]);
}

/**
 * Choose rows.
 * @param {Table} table
 * @param {Rule[]} rules
 * @returns {Selection}
 */
export function select(table, rules) {
  const state = new State(table);
  let before = state.count;
  const steps = rules.map((rule) => {
    const [kind, settings] = parts(rule);
    if (!KINDS[kind]) throw new Error(`there is no rule ${kind} in this page`);
    checkComputed(state, kind, settings);
    state.step++;
    const bounds = KINDS[kind](state, settings) ?? {};
    const counts = new Int32Array(state.texts.length);
    const { dropped: reasons, droppedAt } = state;
    for (let row = 0; row < reasons.length; row++) if (!reasons[row] || droppedAt[row] === state.step) counts[reasons[row]]++;
    const [after] = counts, dropped = Object.fromEntries(state.texts.map((text, code) => [text, counts[code]]).filter(([text, count]) => text && count));
    const step = { before, after, dropped, bounds };
    before = after;
    return step;
  });
  const kept = Uint8Array.from(state.dropped, (reason) => (reason ? 0 : 1));
  return { state, steps, kept, count: before };
}
