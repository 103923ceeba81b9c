// The rule that keeps the best of each group.

import { cut, rank, stillIn } from "./ranking.js";
import { State } from "./state.js";
import { Table } from "./table.js";

/** @typedef {import("./ranking.js").Lines} Lines */
/** @typedef {{column: string, by: string[] | string, fraction?: number, target?: number}} PerGroup */

const CLASSES = "classes_present";
/** @type {Record<string, string>} */
const GROUP_LABELS = { num_classes_present: "num_classes", [CLASSES]: "class" };

/**
 * What a family of groups is called, unless another column of the rule is called so itself.
 * @param {string} column
 * @param {string[]} by
 */
export function groupLabel(column, by) {
  const label = GROUP_LABELS[column] ?? column;
  return by.includes(label) ? column : label;
}

/** @param {string[] | string} by */
export function families(by) {
  return Array.isArray(by) ? by : [by];
}

/**
 * The groups of a row by a column: several if it holds lists.
 * @param {Table} table
 * @param {string} name
 * @returns {(row: number) => readonly (number | string)[]}
 */
export function groupsBy(table, name) {
  const column = table.columns[name];
  if (!column) throw new Error(`there is no column ${name}`);
  if (column.kind === "list") return (row) => column.values.slice(column.offsets[row], column.offsets[row + 1]);
  const { values } = column;
  return (row) => {
    const value = values[row];
    return value === null || Number.isNaN(value) ? [] : [value];
  };
}

/**
 * A group for a person: `class dog`, `3 classes`.
 * @param {Table} table
 * @param {string} family as reasons call it
 * @param {number | string | null} group
 */
export function groupWords(table, family, group) {
  if (family === "num_classes") return `${group} ${group === 1 ? "class" : "classes"}`;
  return `${family} ${groupName(table, family === "class" ? CLASSES : family, group)}`;
}

/**
 * @param {State} state
 * @param {PerGroup} rule
 */
export function topPerGroup(state, rule) {
  const { table } = state, by = families(rule.by);
  state.dropNulls([rule.column]);
  const order = stillIn(state, table.descending(rule.column));
  const lines = by.map((name) => rank(order, groupsBy(table, name)));
  const cutoffOf = cutoffs(rule, lines, table.length);
  const rankings = lines.map((family) => cut(table, family, cutoffOf));
  const labels = by.map((name) => groupLabel(name, by));
  /** @type {number[]} */
  const left = [];
  let kept = 0;
  for (const row of order) {
    const family = rankings.findIndex(({ rank, cutoff }) => rank[row] > 0 && rank[row] <= cutoff[row]);
    if (family < 0) {
      left.push(row);
      continue;
    }
    kept++;
    if (!state.keptBy[row]) {
      state.keptBy[row] = state.code(`kept:${labels[family]}=${groupName(table, by[family], rankings[family].group[row])}`);
    }
  }
  const missing = rule.target == null ? 0 : rule.target - kept;
  const filled = state.code("kept:filled"), dropped = state.code("dropped:top_fraction");
  left.forEach((row, place) => {
    if (place >= missing) state.drop(row, dropped);
    else if (!state.keptBy[row]) state.keptBy[row] = filled;
  });
  rankings.forEach((ranking, place) => state.rankings.set(labels[place], ranking));
}

/**
 * How many rows of a group of a size stay.
 * @param {PerGroup} rule
 * @param {Lines[]} lines
 * @param {number} rows of the table
 * @returns {(size: number) => number}
 */
function cutoffs({ fraction, target }, lines, rows) {
  if (target == null) return (size) => Math.ceil(Number(fraction) * size - 1e-9);
  // A group of g rows keeps its row of rank r once the fraction exceeds (r - 1) / g.
  const enters = new Float64Array(rows).fill(Infinity);
  for (const family of lines) {
    family.rows.forEach((row, line) => {
      enters[row] = Math.min(enters[row], (family.ranks[line] - 1) / family.sizes[family.groups[line]]);
    });
  }
  const first = enters.filter((share) => share < Infinity).sort()[target];
  if (first === undefined) return (size) => size;
  let better = 0, divisor = Infinity;
  for (const family of lines) {
    family.ranks.forEach((rank, line) => {
      const size = family.sizes[family.groups[line]];
      if ((rank - 1) / size === first && size < divisor) [better, divisor] = [rank - 1, size];
    });
  }
  return (size) => Math.floor((better * size + divisor - 1) / divisor);
}

/**
 * What to call a group in a reason: class ids by their names.
 * @param {Table} table
 * @param {string} column
 * @param {number | string | null} group
 */
export function groupName(table, column, group) {
  if (column === CLASSES && typeof group === "number") return table.classNames[group] ?? String(group);
  const kind = table.columns[column];
  if (kind?.kind === "number" && kind.precision !== "whole" && Number.isInteger(group)) return `${group}.0`;
  return String(group);
}
