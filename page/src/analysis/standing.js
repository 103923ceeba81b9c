// Where a row stands by a score: among all rows, and in each of its groups.

import { groupWords, groupsBy } from "../rules/columns.js";
import { Table } from "../rules/table.js";

/** Rows to stand among; null for all. @typedef {{name: string, rows: Int32Array | null}} Company */
/** The place by a score, highest first, of the rows that have it. @typedef {{rank: number, size: number}} Standing */

/**
 * Those a row is compared with: all rows, and the rows of each of its groups.
 * @param {Table} table
 * @param {string[]} families columns of groups
 * @param {number} row
 * @returns {Company[]}
 */
export function companiesOf(table, families, row) {
  return [{ name: "all rows", rows: null }, ...families.flatMap((family) => {
    const groups = groupsBy(table, family), { offsets, codes, names } = groups;
    return [...new Set(codes.subarray(offsets[row], offsets[row + 1]))].map((code) => ({ name: groupWords(table, family, names[code]), rows: members(groups, code) }));
  })];
}

/**
 * @param {import("../rules/columns.js").Groups} groups
 * @param {number} code
 */
function members({ offsets, codes }, code) {
  const rows = new Int32Array(offsets.length - 1);
  let count = 0;
  for (let row = 0; row < rows.length; row++) if (codes.subarray(offsets[row], offsets[row + 1]).includes(code)) rows[count++] = row;
  return rows.subarray(0, count);
}

/**
 * @param {Float64Array} values of a score
 * @param {Company} company
 * @param {number} row
 * @returns {Standing | null} null if the row does not have the score; equal scores share the best rank
 */
export function standingOf(values, { rows }, row) {
  if (Number.isNaN(values[row])) return null;
  let rank = 1, size = 0;
  const count = rows ? rows.length : values.length;
  for (let place = 0; place < count; place++) {
    const value = values[rows ? rows[place] : place];
    if (value > values[row]) rank++;
    if (!Number.isNaN(value)) size++;
  }
  return { rank, size };
}
