// Values that were not computed, as no rule of the recipe that the scores were made for needed them.

import { needNumber } from "./bounds.js";
import { families } from "./columns.js";
import { State } from "./state.js";

/**
 * Refuse a rule that asks for values that were not computed, as the library does.
 * @param {State} state before the rule
 * @param {string} kind
 * @param {any} rule
 */
export function checkComputed(state, kind, rule) {
  const { table } = state, hasBounds = kind === "threshold" || kind === "band";
  const names = [rule.column ?? [], rule.columns ?? [], rule.worst_rank ?? [], rule.rank_mean ?? [], rule.by ?? [], rule.within ?? []];
  const lacking = [...new Set(names.flatMap(families))].filter((name) => name in table.skipped);
  const asked = new Set(), rows = new Set();
  for (const name of lacking) {
    table.skipped[name].rows.forEach((isSkipped, row) => {
      if (!isSkipped || state.dropped[row] || (hasBounds && !needNumber(table, rule, row))) return;
      asked.add(name);
      rows.add(row);
    });
  }
  if (!rows.size) return;
  throw new Error(`${[...asked].join(" and ")} of ${rows.size.toLocaleString("en")} rows was not computed, as no rule needed it: \`sds-hf score --for\` this recipe computes it, \`--all\` everything`);
}
