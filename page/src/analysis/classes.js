// Rows and pixels of each class before and after the rules.

import { groupsBy } from "../rules/columns.js";
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
  if (column?.kind !== "list") return [];
  const { offsets, codes, names } = groupsBy(table, "classes_present"), before = new Uint32Array(names.length), after = new Uint32Array(names.length);
  for (let row = 0; row < table.length; row++) {
    for (let place = offsets[row]; place < offsets[row + 1]; place++) {
      before[codes[place]]++;
      after[codes[place]] += kept[row];
    }
  }
  const ids = names.map(Number), pixelsBefore = new Float64Array(names.length), pixelsAfter = new Float64Array(names.length);
  const codeOf = new Map(ids.map((id, code) => [id, code]));
  for (let row = 0; pixels && row < table.length; row++) {
    for (let place = pixels.offsets[row]; place < pixels.offsets[row + 1]; place++) {
      const code = codeOf.get(pixels.classes[place]);
      if (code === undefined) continue;
      pixelsBefore[code] += pixels.pixels[place];
      pixelsAfter[code] += kept[row] * pixels.pixels[place];
    }
  }
  return ids.map((id, code) => ({
    id, name: table.classNames[id] ?? String(id), before: before[code], after: after[code], pixelsBefore: pixelsBefore[code], pixelsAfter: pixelsAfter[code],
  }));
}
