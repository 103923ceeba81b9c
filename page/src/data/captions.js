// Captions of rows.

import { openParquet, readCells } from "./parquet.js";

/** @typedef {{sources: import("./parquet.js").Source[], key: "id" | "row"}} CaptionsConfig */

/**
 * @param {CaptionsConfig} config files with a column `caption`, and the column that says whose it is
 * @param {import("../rules/table.js").Table} table
 * @returns {Promise<(string | null)[]>} by row
 */
export async function readCaptions({ sources, key }, table) {
  const cells = await readCells(await Promise.all(sources.map((source) => openParquet(source))), [key, "caption"]);
  const captions = new Array(table.length).fill(null);
  cells[key].forEach((name, line) => {
    const row = key === "row" ? Number(name) : table.rowOf(String(name));
    if (row >= 0) captions[row] = cells.caption[line];
  });
  return captions;
}
