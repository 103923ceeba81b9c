// Masks over pictures, drawn of the indices themselves.

import { h } from "../dom.js";

/** @typedef {import("../data/png.js").Mask} Mask */
/** @typedef {import("../session.js").Session} Session */

const IGNORED = 255;
const DIFFERENT = [230, 0, 126];

/**
 * Draw a mask on a canvas of its own size.
 * @param {HTMLCanvasElement} canvas
 * @param {Mask} mask
 * @param {{palette: number[][], hasBackground: boolean, opacity: number, outline: boolean}} style
 */
export function paint(canvas, { width, height, indices }, { palette, hasBackground, opacity, outline }) {
  const image = new ImageData(width, height), { data } = image;
  const clear = (/** @type {number} */ index) => index === IGNORED || (index === 0 && hasBackground);
  for (let here = 0; here < indices.length; here++) {
    const index = indices[here], x = here % width;
    const edge = outline && ((x + 1 < width && indices[here + 1] !== index) || (here + width < indices.length && indices[here + width] !== index) ||
      (x > 0 && indices[here - 1] !== index) || (here >= width && indices[here - width] !== index));
    if (clear(index) && !(index === IGNORED)) continue;
    const color = index === IGNORED ? [255, 255, 255] : palette[index] ?? [128, 128, 128];
    data.set(color, 4 * here);
    data[4 * here + 3] = edge ? 255 : index === IGNORED ? 90 * opacity : 255 * opacity;
  }
  put(canvas, image);
}

/**
 * Draw where two masks differ.
 * @param {HTMLCanvasElement} canvas
 * @param {Mask} mask
 * @param {Mask} reference
 * @param {number} opacity
 */
export function paintDifference(canvas, mask, reference, opacity) {
  const { width, height, indices } = mask, image = new ImageData(width, height);
  for (let y = 0; y < height; y++) {
    const line = Math.floor((y * reference.height) / height) * reference.width;
    for (let x = 0; x < width; x++) {
      const here = y * width + x, one = indices[here], other = reference.indices[line + Math.floor((x * reference.width) / width)];
      if (one === other || one === IGNORED || other === IGNORED) continue;
      image.data.set([...DIFFERENT, 255 * Math.max(0.35, opacity)], 4 * here);
    }
  }
  put(canvas, image);
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {ImageData} image
 */
function put(canvas, image) {
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/**
 * The picture of a row with a mask over it, which follow the state; null if there are no pictures at all.
 * @param {Session} session
 * @param {number} row
 * @param {boolean} large
 * @param {string | null} layer another one than the state's
 */
export function pictureOf(session, row, large, layer = null) {
  const canvas = h("canvas", { "aria-hidden": "true" }), image = h("img", { alt: "", draggable: "false", decoding: "async" });
  const frame = h("span", { class: "picture" }, image, canvas);
  const { pictures } = session;
  if (!pictures) return null;
  if (!pictures.has(row)) {
    frame.replaceChildren(h("span", { class: "nothing" }, "no picture here"));
    return frame;
  }
  pictures.image(row, large).then((address) => (image.src = address)).catch((error) => fail(frame, error));
  const asks = ["reference", "difference"].includes(layer ?? session.store.state.layer);
  if (asks) frame.dataset.wait = "CLIP is looking …";
  draw(session, row, large, canvas, layer).catch((error) => fail(frame, error)).then(() => delete frame.dataset.wait);
  return frame;
}

/**
 * @param {Session} session
 * @param {number} row
 * @param {boolean} large
 * @param {HTMLCanvasElement} canvas
 * @param {string | null} layer
 */
async function draw({ pictures, config, store }, row, large, canvas, layer) {
  const { layer: chosen, opacity, outline } = store.state, what = layer ?? chosen;
  if (!pictures || what === "none") return;
  if (what === "difference") {
    const [mask, reference] = await Promise.all([pictures.mask(row, "mask", large), pictures.mask(row, "reference", large)]);
    if (mask && reference) paintDifference(canvas, mask, reference, opacity);
    return;
  }
  const mask = await pictures.mask(row, /** @type {"mask" | "reference"} */ (what), large);
  if (mask) paint(canvas, mask, { palette: config.palette, hasBackground: config.hasBackground, opacity, outline });
}

/**
 * @param {HTMLElement} frame
 * @param {unknown} error
 */
function fail(frame, error) {
  frame.replaceChildren(h("span", { class: "nothing" }, error instanceof Error ? error.message : String(error)));
}

/**
 * A square of a class's colour.
 * @param {number[][]} palette
 * @param {number} id
 */
export function swatch(palette, id) {
  const square = h("span", { class: "swatch", "aria-hidden": "true" });
  square.style.backgroundColor = `rgb(${(palette[id] ?? [128, 128, 128]).join(" ")})`;
  return square;
}
