// The kinds of rules: in words, and as they begin.

import { RULE_KINDS } from "../rules/select.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../rules/select.js").Rule} Rule */

/** @type {Record<string, string>} */
export const WORDS = {
  threshold: "threshold: beyond a bound", band: "band: between two bounds", top_k: "top_k: the best by a score",
  top_per_group: "top_per_group: the best of each group", at_most_per_group: "at_most_per_group: no group has more",
  rank_mean: "rank_mean: the best by several scores, on average", worst_rank: "worst_rank: the best by their weakest score",
  random: "random: drawn by chance", stratified: "stratified: from the whole range of a score",
};

/**
 * The kinds that a table has the columns for, as choices.
 * @param {Session} session
 * @returns {[string, string][]}
 */
export function kindsFor({ scores, groupColumns }) {
  /** @type {Record<string, boolean>} */
  const able = { random: true, rank_mean: scores.length > 1, worst_rank: scores.length > 1, at_most_per_group: groupColumns.length > 0 };
  able.top_per_group = scores.length > 0 && groupColumns.length > 0;
  return RULE_KINDS.filter((kind) => able[kind] ?? scores.length > 0).map((kind) => [kind, WORDS[kind] ?? kind]);
}

/**
 * A rule to begin with.
 * @param {Session} session
 * @param {string} kind
 * @returns {Rule}
 */
export function newRule({ scores, groupColumns, table }, kind) {
  const column = scores[0] ?? "", columns = scores.slice(0, 2), groups = ["num_classes_present", "classes_present"].filter((name) => name in table.columns);
  const by = groups.length ? groups : groupColumns.slice(0, 1);
  const settings = {
    threshold: { column, above: "q0.1" }, band: { column, low: "q0.1", high: "q0.9" }, top_k: { column, fraction: 0.5 },
    top_per_group: { column, by, fraction: 0.6 }, at_most_per_group: { rows: Math.max(1, Math.round(table.length / 20)), by: by.slice(-1), column: scores[0] },
    worst_rank: { columns, fraction: 0.5 }, rank_mean: { columns, fraction: 0.5 }, random: { fraction: 0.5, seed: 0 },
    stratified: { column, fraction: 0.5, strata: 50, drop_lowest: 0.1 },
  }[kind];
  return { [kind]: settings };
}
