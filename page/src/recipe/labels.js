// Rules and reasons in words.

import { SIGNS, isQuantile } from "../rules/bounds.js";
import { families, groupWords } from "../rules/columns.js";
import { decimal, percents } from "../rules/decimals.js";
import { groupOf } from "../rules/ranking.js";
import { parts } from "../rules/select.js";

/** @typedef {import("../rules/select.js").Rule} Rule */
/** @typedef {import("../rules/select.js").Selection} Selection */

/** Kinds of rules that put all rows into one group. */
export const SHARES = ["top_k", "rank_mean", "worst_rank", "random"];

/**
 * A number in few letters; in as many as tell it from others.
 * @param {number | null | undefined} value
 * @param {number[]} others
 */
export function short(value, others = []) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  let digits = 3;
  while (digits < 9 && others.some((other) => other !== value && rounded(other, digits) === rounded(value, digits))) digits++;
  return rounded(value, digits);
}

/**
 * @param {number} value
 * @param {number} digits
 */
function rounded(value, digits) {
  const isLong = Number.isInteger(value) || Math.abs(value) >= 10 ** digits;
  return (isLong ? value.toLocaleString("en", { maximumFractionDigits: 0 }) : String(Number(value.toPrecision(digits)))).replace("-", "−");
}

/**
 * A score of a row, or what is known of it where it was not computed.
 * @param {import("../rules/table.js").Table} table
 * @param {string} name
 * @param {number} row
 * @param {number[]} others numbers to tell it from
 */
export function valueText(table, name, row, others = []) {
  const { rows, low, high } = table.skipped[name] ?? {};
  if (!rows?.[row]) return short(table.numbers(name).values[row], others);
  return low && high && !Number.isNaN(low[row]) ? `between ${short(low[row], others)} and ${short(high[row], others)}` : "not computed";
}

/** @param {number} count */
export function counted(count) {
  return count.toLocaleString("en");
}

/** @param {number} share */
export function percent(share) {
  return Number.isFinite(share) ? `${share > 0 && share < 0.1 ? (100 * share).toFixed(1) : Math.round(100 * share)} %` : "–";
}

/** What families of groups are called in labels. @type {Record<string, string>} */
const GROUP_WORDS = { num_classes_present: "number of classes", classes_present: "class" };

/**
 * A rule in a few words, as the library's reports say it.
 * @param {Rule} rule
 */
export function labelOf(rule) {
  const [kind, settings] = parts(rule);
  if (kind === "threshold" || kind === "band") {
    const bounds = Object.entries(SIGNS).filter(([name]) => settings[name] != null);
    return bounds.map(([name, sign]) => `${settings.column} ${sign} ${boundText(settings[name])}`).join(" and ") || `${settings.column}: no bound yet`;
  }
  if (kind === "at_most_per_group") {
    const order = hasOrder(settings) ? `the best by ${bestOf(settings)}` : `drawn at random, seed ${settings.seed ?? 0}`;
    return `at most ${counted(settings.rows)} ${eachGroup(settings.by)}, ${order}`;
  }
  const size = sizeOf(settings);
  if (kind === "top_per_group") {
    return settings.target != null
      ? `top share ${eachGroup(settings.by)} by ${bestOf(settings)} that keeps ${size} rows`
      : `top ${size} ${eachGroup(settings.by)} by ${bestOf(settings)}`;
  }
  if (kind === "top_k") return `top ${size} of ${settings.column}`;
  if (kind === "rank_mean" || kind === "worst_rank") return `top ${size} by ${ranksOf(kind, settings.columns, settings.within)}`;
  if (kind === "random") return `${size} drawn at random, seed ${settings.seed ?? 0}`;
  if (kind === "stratified") {
    const share = settings.drop_lowest ?? 0.1, lowest = share ? `, without its lowest ${percents(share)}` : "";
    return `${size} drawn evenly over the range of ${settings.column}, in ${settings.strata ?? 50} strata${lowest}`;
  }
  return kind;
}

/** @param {number | string} bound a number or a quantile */
function boundText(bound) {
  return isQuantile(bound) ? String(bound) : decimal(Number(bound));
}

/** @param {any} rule */
function sizeOf({ target, fraction }) {
  return target != null ? counted(target) : percents(fraction);
}

/** @param {any} rule */
function hasOrder({ column, worst_rank: worst, rank_mean: mean }) {
  return Boolean(column ?? worst ?? mean);
}

/**
 * What is best in a group.
 * @param {any} rule
 */
function bestOf({ column, worst_rank: worst, rank_mean: mean, within }) {
  return column ?? ranksOf(worst ? "worst_rank" : "rank_mean", worst ?? mean, within);
}

/** @param {string[] | string} by */
function eachGroup(by) {
  return families(by).map((name) => `of each ${GROUP_WORDS[name] ?? name}`).join(" and ");
}

/**
 * @param {string} kind
 * @param {string[]} columns
 * @param {string[] | string | undefined} within
 */
function ranksOf(kind, columns, within) {
  const groups = within ? families(within).map((name) => ` within its ${GROUP_WORDS[name] ?? name}`).join(" and") : "";
  return `${kind === "worst_rank" ? "worst" : "mean"} rank in ${columns.slice(0, -1).join(", ")} and ${columns.at(-1)}${groups}`;
}

/**
 * Why a row is in or out, for a person.
 * @param {Selection} selection
 * @param {Rule[]} rules
 * @param {number} row
 */
export function wordsOf(selection, rules, row) {
  const { state } = selection, reason = state.reason(row), { table } = state;
  if (reason === "dropped:failed") return "could not be scored";
  if (reason === "kept:all_rules") return rules.length ? "passes every rule" : "no rule yet";
  const at = state.droppedAt[row], rule = at ? rules[at - 1] : null, settings = rule ? parts(rule)[1] : null;
  if (reason === "dropped:null") return `rule ${at}: has no score it asks for`;
  if (rule && settings.column && reason === `dropped:${settings.column}`) {
    return `rule ${at}: ${valueAndBounds(settings, table, row, selection.steps[at - 1].bounds)}`;
  }
  if (reason.includes(" is the weakest")) return `rule ${at}: ${reason.slice(8)}`;
  const rank = rankOf(selection, row);
  return `${rule ? `rule ${at}: ` : ""}${rank || reason.replace(/^(kept|dropped):/, "").replace("=", " ")}`;
}

/**
 * A score of a row with what a rule asks of it.
 * @param {any} settings of the rule
 * @param {import("../rules/table.js").Table} table
 * @param {number} row
 * @param {Record<string, number>} quantiles what they came to
 */
export function valueAndBounds(settings, table, row, quantiles) {
  const value = table.numbers(settings.column).values[row];
  const bounds = Object.entries(SIGNS).filter(([name]) => settings[name] != null).map(([name, sign]) => ({ sign, bound: quantiles[name] ?? Number(settings[name]) }));
  const needs = bounds.map(({ sign, bound }) => `${sign} ${short(bound, [value])}`).join(" and ");
  return `${settings.column} ${valueText(table, settings.column, row, bounds.map(({ bound }) => bound))}${needs ? `, needs ${needs}` : ""}`;
}

/**
 * The ranks that decided, with the last one that stays; empty if none did.
 * @param {Selection} selection
 * @param {number} row
 */
function rankOf({ state }, row) {
  const reason = state.reason(row), at = state.droppedAt[row];
  if (reason === "dropped:lowest") return "among the lowest, which leave first";
  if (reason === "kept:filled") return "fills up the target, by its score";
  const [, family] = /^kept:(.+?)(=.*)?$/s.exec(reason) ?? [];
  const lines = [...state.rankings].filter(([name, { rank, step }]) => rank[row] && (at ? step === at : name === family || reason.startsWith(`kept:${name}=`)));
  return lines.map(([name, ranking]) => {
    const { rank, size, cutoff } = ranking, where = SHARES.includes(name) ? "" : `${groupWords(state.table, name, groupOf(ranking, row))}: `;
    return `${where}rank ${counted(rank[row])} of ${counted(size[row])}, the first ${counted(cutoff[row])} stay`;
  }).join("; ");
}
