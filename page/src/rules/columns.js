// Columns as families of groups, and what groups are called.

import { decimal } from "./decimals.js";
import { Table, compareIds, noColumn } from "./table.js";

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
 * Groups by number: those of row r are codes[offsets[r]] up to codes[offsets[r + 1]]; `names` are in the groups' order.
 * @typedef {{offsets: Int32Array, codes: Int32Array, names: (number | string)[]}} Groups
 */

/** @type {WeakMap<Table, Map<string, Groups>>} */
const CODED = new WeakMap();

/**
 * The groups of rows by a column, several a row if it holds lists; all rows are one group if there is no column.
 * @param {Table} table
 * @param {string | null} name
 * @returns {Groups}
 */
export function groupsBy(table, name) {
  let known = CODED.get(table);
  if (!known) CODED.set(table, (known = new Map()));
  let groups = known.get(name ?? "");
  if (!groups) known.set(name ?? "", (groups = coded(table, name)));
  return groups;
}

/**
 * @param {Table} table
 * @param {string | null} name
 * @returns {Groups}
 */
function coded(table, name) {
  if (name === null) {
    return { offsets: Int32Array.from({ length: table.length + 1 }, (_, row) => row), codes: new Int32Array(table.length), names: [1] };
  }
  const column = table.columns[name];
  if (!column) throw new Error(noColumn(name));
  const { offsets, values } = column.kind === "list" ? column : oneEach(column.values);
  const names = [...new Set(values)].sort(compareGroups), numbers = new Map(names.map((group, number) => [group, number]));
  return { offsets, codes: Int32Array.from(values, (group) => /** @type {number} */ (numbers.get(group))), names };
}

/** @param {Float64Array | (string | null)[]} cells */
function oneEach(cells) {
  const offsets = new Int32Array(cells.length + 1);
  /** @type {(number | string)[]} */
  const values = [];
  for (let row = 0; row < cells.length; row++) {
    const cell = cells[row];
    if (cell !== null && !Number.isNaN(cell)) values.push(cell);
    offsets[row + 1] = values.length;
  }
  return { offsets, values };
}

/**
 * @param {number | string} a
 * @param {number | string} b
 */
function compareGroups(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : compareIds(String(a), String(b));
}

/**
 * A group for a person: `class dog`, `3 classes`.
 * @param {Table} table
 * @param {string} family its column, or what reasons call that
 * @param {number | string | null} group
 */
export function groupWords(table, family, group) {
  const [column, label] = Object.entries(GROUP_LABELS).find((names) => names.includes(family)) ?? [family, family];
  if (label === "num_classes") return `${group} ${group === 1 ? "class" : "classes"}`;
  return `${label} ${groupName(table, column, group)}`;
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
  return kind?.kind === "number" && kind.precision !== "whole" ? decimal(Number(group), kind.precision !== "double") : String(group);
}

/**
 * A group with its family, such as `class=dog`.
 * @param {Table} table
 * @param {string} column
 * @param {number | string | null} group
 */
export function groupWithFamily(table, column, group) {
  return `${GROUP_LABELS[column] ?? column}=${groupName(table, column, group)}`;
}
