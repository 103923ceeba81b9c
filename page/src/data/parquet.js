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

/** Kinds of numbers. @type {Set<Kind>} */
const NUMBERS = new Set(["half", "single", "double", "whole"]);
/** Bytes of a file that is rather read by ranges than at once. */
const LARGE = 64 << 20;
/** Columns of a table that has only what rules needed: what a row lacks, and what is known of that. */
const SKIPPED = "skipped_scores", BESIDE = /^(.+)_(?:low|high|shuffles)$/;
/** Columns that a selection writes beside the scores; the page makes its own. */
const DECIDED = /^(kept|reason|.*_(rank|group_size|cutoff))$/;

/**
 * @param {Source} source
 * @param {boolean} whole whether most of it will be read
 * @returns {Promise<Opened>}
 */
export async function openParquet(source, whole = false) {
  const file = "base64" in source ? inMemory(bytesOf(source.base64)) : whole ? await wholeFile(source.url) : await asyncBufferFromUrl({ url: source.url });
  const metadata = await parquetMetadataAsync(file);
  return { file, metadata, rows: Number(metadata.num_rows) };
}

/**
 * A file that is read at once, unless it is large: then by ranges.
 * @param {string} url
 */
async function wholeFile(url) {
  const answer = await fetch(url), size = Number(answer.headers.get("Content-Length"));
  if (!answer.ok) throw new Error(`${url} cannot be read (${answer.status})`);
  if (size <= LARGE) return inMemory(await answer.arrayBuffer());
  await answer.body?.cancel();
  return asyncBufferFromUrl({ url, byteLength: size });
}

/** @param {ArrayBuffer} buffer */
function inMemory(buffer) {
  return { byteLength: buffer.byteLength, slice: (/** @type {number} */ start, /** @type {number=} */ end) => buffer.slice(start, end) };
}

/** @param {string} base64 */
function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return bytes.buffer;
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
 * @returns {Promise<Record<string, any[]>>} cells by column
 */
export async function readCells(files, names) {
  const cells = Object.fromEntries(names.map((name) => [name, new Array(rowsOf(files)).fill(null)]));
  await fill(files, cells);
  return cells;
}

/** @param {Opened[]} files */
function rowsOf(files) {
  return files.reduce((sum, { rows }) => sum + rows, 0);
}

/**
 * Put the cells of columns where they belong.
 * @param {Opened[]} files
 * @param {Record<string, any[] | Float64Array>} cells by column; in arrays of numbers a null is NaN
 */
async function fill(files, cells) {
  let before = 0;
  for (const { file, metadata, rows } of files) {
    const start = before;
    await parquetRead({
      file, metadata, columns: Object.keys(cells),
      onChunk: ({ columnName, columnData, rowStart }) => {
        const target = cells[columnName], areNumbers = target instanceof Float64Array, first = start + rowStart;
        for (let place = 0; place < columnData.length; place++) {
          const cell = columnData[place];
          target[first + place] = areNumbers ? (cell == null ? NaN : Number(cell)) : cell;
        }
      },
    });
    before += rows;
  }
}

/**
 * The table of scores in files.
 * @param {Source[]} sources
 * @param {string[]} classNames
 * @param {string[]} halves columns that were of 16 bits, whatever the file says
 * @returns {Promise<{table: Table, errors: (string | null)[] | null}>}
 */
export async function readTable(sources, classNames, halves) {
  const files = await Promise.all(sources.map((source) => openParquet(source, true))), kinds = kindsOf(files[0].metadata);
  const rows = rowsOf(files), names = [...kinds.keys()].filter((name) => !DECIDED.test(name) && kinds.get(name) !== "bytes");
  const areNumbers = (/** @type {string} */ name) => NUMBERS.has(/** @type {Kind} */ (kinds.get(name))) && name !== "id";
  const numbers = Object.fromEntries(names.filter(areNumbers).map((name) => [name, new Float64Array(rows)]));
  /** @type {Record<string, any[]>} */
  const others = Object.fromEntries(names.filter((name) => !areNumbers(name)).map((name) => [name, new Array(rows).fill(null)]));
  await fill(files, { ...numbers, ...others });
  if (numbers.row && !numbers.row.every((row, place) => !place || row > numbers.row[place - 1])) {
    throw new Error("the rows of the table are not in the order of their numbers");
  }
  const { id, status, error, [SKIPPED]: skippedNames, ...cells } = others;
  const skipped = skippedNames ? skippedOf(skippedNames, numbers) : {};
  /** @type {Record<string, Column>} */
  const columns = {};
  for (const name of names) {
    if (name in cells) columns[name] = columnOf(cells[name], /** @type {Kind} */ (kinds.get(name)));
    else if (name in numbers && name !== "row" && !(skippedNames && isBeside(name, numbers))) columns[name] = { kind: "number", precision: /** @type {any} */ (halves.includes(name) ? "half" : kinds.get(name)), values: numbers[name] };
  }
  const ids = id ? id.map(String) : Array.from({ length: rows }, (_, row) => String(row));
  const failed = status ? Uint8Array.from(status, (text) => (text === "failed" ? 1 : 0)) : null;
  return { table: new Table(ids, columns, failed, classNames, skipped), errors: error ?? null };
}

/**
 * Whether a column says of another one what is known of values that were not computed.
 * @param {string} name
 * @param {Record<string, Float64Array>} numbers
 */
function isBeside(name, numbers) {
  const [, column] = BESIDE.exec(name) ?? [];
  return column !== undefined && column in numbers;
}

/**
 * Which values were not computed, by column.
 * @param {(string[] | null)[]} names of columns, by row
 * @param {Record<string, Float64Array>} numbers
 * @returns {Record<string, import("../rules/table.js").Skipped>}
 */
function skippedOf(names, numbers) {
  /** @type {Record<string, import("../rules/table.js").Skipped>} */
  const skipped = {};
  names.forEach((cell, row) => {
    for (const name of cell ?? []) {
      skipped[name] ??= { rows: new Uint8Array(names.length), low: numbers[`${name}_low`] ?? null, high: numbers[`${name}_high`] ?? null };
      skipped[name].rows[row] = 1;
    }
  });
  return skipped;
}

/**
 * A column of texts or lists.
 * @param {any[]} cells
 * @param {Kind} kind
 * @returns {Column}
 */
function columnOf(cells, kind) {
  if (kind === "text") return { kind, values: cells };
  if (kind !== "list") return { kind: "text", values: cells.map((cell) => (cell === null ? null : String(cell))) };
  const offsets = new Int32Array(cells.length + 1);
  /** @type {(number | string)[]} */
  const values = [];
  cells.forEach((cell, row) => {
    for (const value of cell ?? []) if (value !== null) values.push(typeof value === "bigint" ? Number(value) : value);
    offsets[row + 1] = values.length;
  });
  return { kind, offsets, values };
}
