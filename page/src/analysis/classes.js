// Rows and pixels of each class before and after the rules.

import { Table } from "../rules/table.js";

/** @typedef {{id: number, name: string, before: number, after: number, pixelsBefore: number, pixelsAfter: number}} ClassCount */
/**
 * Pixels of the classes a row shows: of row r those from offsets[r] to offsets[r + 1].
 * @typedef {{offsets: Int32Array, classes: Int32Array, pixels: Float64Array}} Pixels
 */

/**
 * @param {Table} table
 * @param {Uint8Array} kept
 * @param {Pixels | null} pixels
 * @returns {ClassCount[]} of classes that some row shows, by id
 */
export function classCounts(table, kept, pixels) {
  const column = table.columns.classes_present;
  /** @type {Map<number, ClassCount>} */
  const counts = new Map();
  const entry = (/** @type {number} */ id) => {
    let count = counts.get(id);
    if (!count) counts.set(id, (count = { id, name: table.classNames[id] ?? String(id), before: 0, after: 0, pixelsBefore: 0, pixelsAfter: 0 }));
    return count;
  };
  if (column?.kind === "list") {
    for (let row = 0; row < table.length; row++) {
      for (let place = column.offsets[row]; place < column.offsets[row + 1]; place++) {
        const count = entry(Number(column.values[place]));
        count.before++;
        count.after += kept[row];
      }
    }
  }
  if (pixels) {
    for (let row = 0; row < table.length; row++) {
      for (let place = pixels.offsets[row]; place < pixels.offsets[row + 1]; place++) {
        const count = counts.get(pixels.classes[place]);
        if (!count) continue;
        count.pixelsBefore += pixels.pixels[place];
        if (kept[row]) count.pixelsAfter += pixels.pixels[place];
      }
    }
  }
  return [...counts.values()].sort((a, b) => a.id - b.id);
}
