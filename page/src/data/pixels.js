// How many pixels of each class the masks of rows have.

import { openParquet, readCells } from "./parquet.js";

/** @typedef {import("../analysis/classes.js").Pixels} Pixels */

/**
 * @param {import("./parquet.js").Source} source a file with `row`, `classes` and `pixels`, lists of the same length
 * @param {number} length of the table
 * @returns {Promise<Pixels>}
 */
export async function readPixels(source, length) {
  const cells = await readCells([await openParquet(source)], ["row", "classes", "pixels"]);
  const lines = new Map(cells.row.map((row, line) => [Number(row), line])), offsets = new Int32Array(length + 1);
  /** @type {{classes: number[], pixels: number[]}} */
  const flat = { classes: [], pixels: [] };
  for (let row = 0; row < length; row++) {
    const line = lines.get(row);
    if (line !== undefined) {
      for (const id of cells.classes[line] ?? []) flat.classes.push(Number(id));
      for (const count of cells.pixels[line] ?? []) flat.pixels.push(Number(count));
    }
    offsets[row + 1] = flat.classes.length;
  }
  return { offsets, classes: Int32Array.from(flat.classes), pixels: Float64Array.from(flat.pixels) };
}
