// Which rows a gallery shows: by class, number of classes, scores, caption and id.

import { Table } from "../rules/table.js";

/**
 * @typedef {{class?: number, count?: number, id?: string, text?: string, scores?: Record<string, [number | null, number | null]>}} Filter
 */

/** @param {Filter} filter */
export function isEmpty(filter) {
  return filter.class == null && filter.count == null && !filter.id && !filter.text && !Object.keys(filter.scores ?? {}).length;
}

/**
 * @param {Table} table
 * @param {Filter} filter
 * @param {(string | null)[] | null} captions by row
 * @returns {(row: number) => boolean}
 */
export function tester(table, filter, captions) {
  /** @type {((row: number) => boolean)[]} */
  const tests = [];
  const classes = table.columns.classes_present, wanted = filter.class;
  if (wanted != null && classes?.kind === "list") {
    tests.push((row) => {
      for (let place = classes.offsets[row]; place < classes.offsets[row + 1]; place++) if (classes.values[place] === wanted) return true;
      return false;
    });
  }
  const { count } = filter;
  if (count != null && classes?.kind === "list") tests.push((row) => classes.offsets[row + 1] - classes.offsets[row] === count);
  const id = filter.id?.toLowerCase(), text = filter.text?.toLowerCase();
  if (id) tests.push((row) => table.ids[row].toLowerCase().includes(id));
  if (text) tests.push((row) => Boolean(captions?.[row]?.toLowerCase().includes(text)));
  for (const [name, [low, high]] of Object.entries(filter.scores ?? {})) {
    const column = table.columns[name];
    if (column?.kind === "number") tests.push((row) => (low == null || column.values[row] >= low) && (high == null || column.values[row] <= high));
  }
  return (row) => tests.every((test) => test(row));
}
