// Pictures and masks of rows, from wherever this page has them: a server, ranges of published files, or itself.

import { decodeMask } from "./png.js";
import { openParquet, readCells } from "./parquet.js";

/** @typedef {import("./png.js").Mask} Mask */
/** @typedef {"mask" | "reference"} Layer */
/**
 * @typedef {object} Pictures
 * @property {(row: number) => boolean} has
 * @property {(row: number, large: boolean) => Promise<string>} image address of the picture
 * @property {(row: number, layer: Layer, large: boolean) => Promise<Mask | null>} mask
 * @property {boolean} references whether there are reference masks
 * @property {boolean} shuffles whether there are shuffled versions
 */

/**
 * @param {any} config what the page was told of its pictures
 * @returns {Promise<Pictures | null>}
 */
export async function openPictures(config) {
  if (!config) return null;
  if (config.kind === "server") return fromServer(config);
  if (config.kind === "inline") return inline(config);
  return fromRanges(config);
}

/** @param {string} url */
async function bytesOf(url, init = {}) {
  const response = await fetch(url, init);
  if (!response.ok) throw new Error((await response.text()) || `no answer (${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
}

/** @returns {Pictures} */
function fromServer(/** @type {any} */ config) {
  return {
    has: () => true,
    image: async (row, large) => `rows/${row}/image?size=${large ? "full" : "small"}`,
    mask: async (row, layer, large) => decodeMask(await bytesOf(`rows/${row}/${layer}?size=${large ? "full" : "small"}`)),
    references: Boolean(config.references), shuffles: Boolean(config.shuffles),
  };
}

/** @returns {Pictures} */
function inline(/** @type {any} */ config) {
  const { rows } = config;
  return {
    has: (row) => row in rows,
    image: async (row) => rows[row].image,
    mask: async (row, layer) => (layer === "mask" && rows[row].mask ? decodeMask(await bytesOf(rows[row].mask)) : null),
    references: false, shuffles: false,
  };
}

/**
 * Pictures lie in Parquet files as they are; an index says at which bytes.
 * @param {any} config
 * @returns {Promise<Pictures>}
 */
async function fromRanges(config) {
  const names = ["row", "file", "image_start", "image_size", "mask_start", "mask_size"];
  const places = await readCells([await openParquet({ url: config.index })], names);
  const lines = new Map(places.row.map((row, line) => [Number(row), line]));
  const part = (/** @type {number} */ row, /** @type {"image" | "mask"} */ what) => {
    const line = lines.get(row);
    const size = line === undefined ? 0 : Number(places[`${what}_size`][line]);
    if (line === undefined || !size) return null;
    const start = Number(places[`${what}_start`][line]), url = config.files[places.file[line]];
    return bytesOf(url, { headers: { Range: `bytes=${start}-${start + size - 1}` } })
      .then((bytes) => (bytes.length > size ? bytes.slice(start, start + size) : bytes));
  };
  /** @type {Map<number, string>} */
  const addresses = new Map();
  return {
    has: (row) => lines.has(row),
    image: async (row) => {
      let address = addresses.get(row);
      if (!address) {
        const bytes = await part(row, "image");
        if (!bytes) throw new Error("the picture is not published");
        addresses.set(row, (address = URL.createObjectURL(new Blob([bytes]))));
        if (addresses.size > 400) forget(addresses);
      }
      return address;
    },
    mask: async (row, layer) => {
      const bytes = layer === "mask" ? await part(row, "mask") : null;
      return bytes && decodeMask(bytes);
    },
    references: false, shuffles: false,
  };
}

/** @param {Map<number, string>} addresses the oldest is dropped */
function forget(addresses) {
  const [[row, address]] = addresses;
  URL.revokeObjectURL(address);
  addresses.delete(row);
}
