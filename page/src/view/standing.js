// Where a row stands: by every score among all rows and in its groups, and what each rule says of it.

import { companiesOf, standingOf } from "../analysis/standing.js";
import { h } from "../dom.js";
import { SHARES, counted, labelOf, valueAndBounds, valueText } from "../recipe/labels.js";
import { families, groupWords } from "../rules/columns.js";
import { parts } from "../rules/select.js";
import { info } from "./tips.js";

/** @typedef {import("../session.js").Session} Session */

const GROUPS = ["num_classes_present", "classes_present"];

/**
 * Every score of a row, with its rank among all rows and in each of its groups.
 * @param {Session} session
 * @param {number} row
 */
export function scoresOf(session, row) {
  const { table, store } = session, rules = store.state.recipes[0].rules;
  const grouping = rules.flatMap((rule) => [...families(parts(rule)[1].by ?? []), ...families(parts(rule)[1].within ?? [])]);
  const companies = companiesOf(table, [...new Set([...GROUPS, ...grouping])].filter((name) => name in table.columns), row);
  const line = (/** @type {string} */ name) => {
    const { values } = table.numbers(name), standings = companies.map((company) => standingOf(values, company, row));
    return h("tr", {}, h("th", { scope: "row" }, name, " ", info(session.config.definitions[name])), h("td", { class: "right" }, valueText(table, name, row)),
      ...standings.map((standing) => h("td", { class: "right rank" }, standing ? counted(standing.rank) : "–", standing ? h("span", { class: "quiet" }, ` of ${counted(standing.size)}`) : null)));
  };
  return scrolled("Scores and ranks", h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "score"), h("th", { scope: "col", class: "right" }, "value"),
      ...companies.map(({ name }) => h("th", { scope: "col", class: "right", title: "rank, highest first, of the rows that have the score" }, name === "all rows" ? "rank in all rows" : `in ${name}`)))),
    h("tbody", {}, ...session.scores.map(line))));
}

/**
 * What each rule says of a row, in order.
 * @param {Session} session
 * @param {number} row
 */
export function rulesOf(session, row) {
  const { selection, rules } = session.outcome(0), { state } = selection;
  if (!rules.length) return null;
  return h("ol", { class: "steps" }, ...rules.map((rule, index) => {
    const at = state.droppedAt[row], failed = state.dropped[row] && !at;
    const verdict = failed || (state.dropped[row] && at <= index) ? "before" : at === index + 1 ? "out" : "in";
    return h("li", { class: verdict }, h("strong", {}, labelOf(rule)), ` – ${{ before: "was out before", out: "leaves here", in: "stays" }[verdict]}`,
      verdict === "before" ? null : valuesOf(session, index, row), verdict === "before" ? null : ranksOf(session, index, row));
  }));
}

/**
 * What a rule reads of a row, with what it asks.
 * @param {Session} session
 * @param {number} index of the rule
 * @param {number} row
 */
function valuesOf(session, index, row) {
  const { table } = session, { selection, rules } = session.outcome(0), [, settings] = parts(rules[index]);
  const { column, columns = settings.worst_rank ?? settings.rank_mean ?? [] } = settings;
  const text = column ? valueAndBounds(settings, table, row, selection.steps[index].bounds) : columns.map((/** @type {string} */ name) => `${name} ${valueText(table, name, row)}`).join(", ");
  return text ? h("div", { class: "quiet" }, text) : null;
}

/**
 * The ranks of a row in the groups of a rule.
 * @param {Session} session
 * @param {number} index of the rule
 * @param {number} row
 */
function ranksOf(session, index, row) {
  const { state } = session.outcome(0).selection;
  const ranks = [...state.rankings].filter(([, { step }]) => step === index + 1).flatMap(([family, { lines, cutoffs }]) => {
    const own = [...lines.rows.keys()].filter((line) => lines.rows[line] === row);
    return own.map((line) => {
      const group = lines.groups[line], rank = lines.ranks[line], name = SHARES.includes(family) ? "all rows that were left" : groupWords(state.table, family, lines.names[group]);
      return h("li", { class: rank <= cutoffs[group] ? "in" : "out" }, `${name}: rank ${counted(rank)} of ${counted(lines.sizes[group])}, the first ${counted(cutoffs[group])} stay`);
    });
  });
  return ranks.length ? h("ul", { class: "ranks" }, ...ranks) : null;
}

/**
 * @param {string} label
 * @param {HTMLElement} table
 */
function scrolled(label, table) {
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table);
}
