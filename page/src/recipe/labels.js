// Rules and reasons in words.

import { SIGNS } from "../rules/bounds.js";
import { families, groupLabel, groupWords } from "../rules/columns.js";
import { parts } from "../rules/select.js";

/** @typedef {import("../rules/select.js").Rule} Rule */
/** @typedef {import("../rules/select.js").Selection} Selection */

/** Kinds of rules that put all rows into one group. */
export const SHARES = ["top_k", "rank_mean", "worst_rank", "random"];

/**
 * A number in few letters.
 * @param {number | null | undefined} value
 */
export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = Math.abs(value) >= 1000 || Number.isInteger(value) ? value.toLocaleString("en", { maximumFractionDigits: 0 }) : String(Number(value.toPrecision(3)));
  return text.replace("-", "−");
}

/** @param {number} count */
export function counted(count) {
  return count.toLocaleString("en");
}

/** @param {number} share */
export function percent(share) {
  return Number.isFinite(share) ? `${share > 0 && share < 0.1 ? (100 * share).toFixed(1) : Math.round(100 * share)} %` : "–";
}

/** @param {any} rule */
export function sizeOf({ target, fraction }) {
  return target != null ? counted(target) : `${Math.round(100 * fraction)}%`;
}

/**
 * A rule in a few words, as the library's reports say it.
 * @param {Rule} rule
 */
export function labelOf(rule) {
  const [kind, settings] = parts(rule);
  if (kind === "threshold" || kind === "band") {
    return Object.entries(SIGNS).filter(([name]) => settings[name] != null)
      .map(([name, sign]) => `${settings.column} ${sign} ${settings[name]}`).join(" and ") || `${settings.column}: no bound yet`;
  }
  const size = sizeOf(settings);
  if (kind === "top_k") return `top ${size} of ${settings.column}`;
  if (kind === "rank_mean" || kind === "worst_rank") return `top ${size} by ${ranksOf(kind, settings.columns, settings.within)}`;
  if (kind === "random") return `${size} at random, seed ${settings.seed ?? 0}`;
  if (kind === "stratified") {
    return `${size} from ${settings.strata ?? 50} strata of ${settings.column}, without its lowest ${Math.round(100 * (settings.drop_lowest ?? 0.1))}%`;
  }
  if (kind === "top_per_group") {
    const by = families(settings.by);
    const best = settings.worst_rank ? `by ${ranksOf("worst_rank", settings.worst_rank, settings.within)}`
      : settings.rank_mean ? `by ${ranksOf("rank_mean", settings.rank_mean, settings.within)}` : `of ${settings.column}`;
    return `top ${size} ${best} by ${by.map((name) => groupLabel(name, by)).join(" or ")}`;
  }
  return kind;
}

/**
 * @param {string} kind
 * @param {string[]} columns
 * @param {string[] | string | undefined} within
 */
function ranksOf(kind, columns, within) {
  const groups = within ? ` within ${families(within).map((name) => groupLabel(name, [])).join(" or ")}` : "";
  return `${kind === "worst_rank" ? "worst" : "mean"} rank in ${columns.join(" and ")}${groups}`;
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
    return `rule ${at}: ${settings.column} ${short(table.numbers(settings.column).values[row])}, needs ${bounds(settings, selection.steps[at - 1].bounds)}`;
  }
  if (reason.includes(" is the weakest")) return `rule ${at}: ${reason.slice(8)}`;
  const rank = rankOf(selection, rules, row);
  return `${rule ? `rule ${at}: ` : ""}${rank || reason.replace(/^(kept|dropped):/, "").replace("=", " ")}`;
}

/**
 * @param {any} settings
 * @param {Record<string, number>} quantiles
 */
function bounds(settings, quantiles) {
  return Object.entries(SIGNS).filter(([name]) => settings[name] != null)
    .map(([name, sign]) => `${sign} ${short(quantiles[name] ?? Number(settings[name]))}`).join(" and ");
}

/**
 * The rank that decided, with the last one that stays.
 * @param {Selection} selection
 * @param {Rule[]} rules
 * @param {number} row
 */
function rankOf({ state }, rules, row) {
  const reason = state.reason(row);
  if (reason === "dropped:lowest") return "among the lowest, which leave first";
  if (reason === "kept:filled") return "fills up the target, by its score";
  const [, family] = /^kept:(.+?)(=.*)?$/s.exec(reason) ?? [];
  const lines = [...state.rankings].filter(([name, { rank }]) => rank[row] && (!family || name === family || reason.startsWith(`kept:${name}=`)));
  return lines.map(([name, { rank, size, cutoff, group }]) => {
    const where = SHARES.includes(name) ? "" : `${groupWords(state.table, name, group[row])}: `;
    return `${where}rank ${counted(rank[row])} of ${counted(size[row])}, the first ${counted(cutoff[row])} stay`;
  }).join("; ");
}
