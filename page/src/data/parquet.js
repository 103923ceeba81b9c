// Score tables from Parquet files, read by ranges of bytes, column by column into typed arrays.

import { asyncBufferFromUrl, parquetMetadataAsync, parquetRead, parquetSchema } from "hyparquet";
import { Table } from "../rules/table.js";

/** @typedef {import("../rules/table.js").Column} Column */
/** @typedef {import("hyparquet").AsyncBuffer} AsyncBuffer */
/** @typedef {import("hyparquet").FileMetaData} FileMetaData */
/** @typedef {{file: AsyncBuffer, metadata: FileMetaData, rows: number}} Opened */
/** @typedef {"half" | "single" | "double" | "whole" | "text" | "list" | "truth" | "bytes"} Kind */

/**
 * What a page reads: an address, or the file itself in base64.
 * @typedef {{url: string} | {base64: string}} Source
 */

/** Columns that a selection writes beside the scores; the page makes its own. */
const DECIDED = /^(kept|reason|.*_(rank|group_size|cutoff))$/;

/**
 * @param {Source} source
 * @returns {Promise<Opened>}
 */
export async function openParquet(source) {
  const file = "url" in source ? await asyncBufferFromUrl({ url: source.url }) : bufferOf(source.base64);
  const metadata = await parquetMetadataAsync(file);
  return { file, metadata, rows: Number(metadata.num_rows) };
}

/** @param {string} base64 */
function bufferOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return { byteLength: bytes.length, slice: (/** @type {number} */ start, /** @type {number=} */ end) => bytes.buffer.slice(start, end) };
}

/**
 * The kinds of columns the page can use, by name.
 * @param {FileMetaData} metadata
 * @returns {Map<string, Kind>}
 */
export function kindsOf(metadata) {
  /** @type {Map<string, Kind>} */
  const kinds = new Map();
  for (const { element, children } of parquetSchema(metadata).children) {
    const inner = children[0]?.children[0];
    if (!children.length) {
      const kind = leafKind(element);
      if (kind) kinds.set(element.name, kind);
    } else if (element.converted_type === "LIST" && inner && !inner.children.length) {
      const kind = leafKind(inner.element);
      if (kind === "whole" || kind === "text") kinds.set(element.name, "list");
    }
  }
  return kinds;
}

/**
 * @param {import("hyparquet").SchemaElement} element
 * @returns {Kind | undefined}
 */
function leafKind({ type, logical_type, converted_type }) {
  if (type === "DOUBLE") return "double";
  if (type === "FLOAT") return "single";
  if (logical_type?.type === "FLOAT16") return "half";
  if (type === "BOOLEAN") return "truth";
  if (type === "BYTE_ARRAY") return converted_type === "UTF8" || logical_type?.type === "STRING" ? "text" : "bytes";
  if ((type === "INT32" || type === "INT64") && !/TIME|DATE|DECIMAL/.test(`${logical_type?.type} ${converted_type}`)) return "whole";
  return undefined;
}

/**
 * Columns of files, one below the other.
 * @param {Opened[]} files
 * @param {string[]} names
 * @param {{rowStart?: number, rowEnd?: number}} range
 * @returns {Promise<Record<string, any[]>>} cells by column
 */
export async function readCells(files, names, range = {}) {
  const rows = range.rowEnd !== undefined ? range.rowEnd - (range.rowStart ?? 0) : files.reduce((sum, file) => sum + file.rows, 0);
  /** @type {Record<string, any[]>} */
  const cells = Object.fromEntries(names.map((name) => [name, new Array(rows).fill(null)]));
  let before = -(range.rowStart ?? 0);
  for (const { file, metadata, rows: length } of files) {
    const start = before;
    await parquetRead({
      file, metadata, columns: names, ...range,
      onChunk: ({ columnName, columnData, rowStart }) => {
        const target = cells[columnName];
        for (let place = 0; place < columnData.length; place++) {
          const row = start + rowStart + place;
          if (row >= 0 && row < rows) target[row] = columnData[place];
        }
      },
    });
    before += length;
  }
  return cells;
}

/**
 * The table of scores in files.
 * @param {Source[]} sources
 * @param {string[]} classNames
 * @param {string[]} halves columns that were of 16 bits, whatever the file says
 * @returns {Promise<{table: Table, errors: (string | null)[] | null}>}
 */
export async function readTable(sources, classNames, halves) {
  const files = await Promise.all(sources.map(openParquet)), kinds = kindsOf(files[0].metadata);
  const names = [...kinds.keys()].filter((name) => !DECIDED.test(name) && kinds.get(name) !== "bytes");
  const cells = await readCells(files, names), rows = files.reduce((sum, file) => sum + file.rows, 0);
  const ids = cells.id ? cells.id.map(String) : Array.from({ length: rows }, (_, row) => String(row));
  if (cells.row && !cells.row.every((row, place) => !place || row > cells.row[place - 1])) {
    throw new Error("the rows of the table are not in the order of their numbers");
  }
  /** @type {Record<string, Column>} */
  const columns = {};
  for (const name of names) {
    if (!["id", "row", "status", "error"].includes(name)) {
      columns[name] = columnOf(cells[name], halves.includes(name) ? "half" : /** @type {Kind} */ (kinds.get(name)));
    }
  }
  const failed = cells.status ? Uint8Array.from(cells.status, (status) => (status === "failed" ? 1 : 0)) : null;
  return { table: new Table(ids, columns, failed, classNames), errors: cells.error ?? null };
}

/**
 * @param {any[]} cells
 * @param {Kind} kind
 * @returns {Column}
 */
function columnOf(cells, kind) {
  if (kind === "text") return { kind, values: cells };
  if (kind === "truth") return { kind: "text", values: cells.map((cell) => (cell === null ? null : String(cell))) };
  if (kind === "list") {
    const offsets = new Int32Array(cells.length + 1);
    /** @type {(number | string)[]} */
    const values = [];
    cells.forEach((cell, row) => {
      for (const value of cell ?? []) if (value !== null) values.push(typeof value === "bigint" ? Number(value) : value);
      offsets[row + 1] = values.length;
    });
    return { kind, offsets, values };
  }
  const precision = /** @type {"half" | "single" | "double" | "whole"} */ (kind);
  return { kind: "number", precision, values: Float64Array.from(cells, (cell) => (cell == null ? NaN : Number(cell))) };
}
