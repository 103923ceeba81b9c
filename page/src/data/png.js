// Class indices out of a PNG as they are stored: a browser would give colours.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10];

/** @typedef {{width: number, height: number, indices: Uint8Array}} Mask */

/**
 * The indices of a mask; of a colour PNG its red, of 16 bits the lower byte (higher ones become 255).
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Mask>}
 */
export async function decodeMask(bytes) {
  if (!SIGNATURE.every((byte, place) => bytes[place] === byte)) throw new Error("the mask is no PNG");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let width = 0, height = 0, depth = 8, color = 0, interlaced = 0;
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const parts = [];
  for (let place = 8; place + 8 <= bytes.length; ) {
    const length = view.getUint32(place), kind = String.fromCharCode(...bytes.subarray(place + 4, place + 8)), data = place + 8;
    if (kind === "IHDR") {
      width = view.getUint32(data);
      height = view.getUint32(data + 4);
      [depth, color, , , interlaced] = bytes.subarray(data + 8, data + 13);
    } else if (kind === "IDAT") parts.push(bytes.subarray(data, data + length));
    place = data + length + 4;
  }
  if (interlaced) throw new Error("the mask is an interlaced PNG");
  const channels = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }[color] ?? 1;
  const packed = new Uint8Array(await inflated(parts)), bits = depth * channels;
  const lines = unfiltered(packed, Math.ceil((width * bits) / 8), height, Math.max(1, bits >> 3));
  return { width, height, indices: unpacked(lines, width, height, depth, channels) };
}

/** @param {Uint8Array<ArrayBuffer>[]} parts */
function inflated(parts) {
  return new Response(new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

/**
 * @param {Uint8Array} packed
 * @param {number} stride bytes a line
 * @param {number} height
 * @param {number} step bytes a pixel
 */
function unfiltered(packed, stride, height, step) {
  const lines = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = packed[y * (stride + 1)], from = y * (stride + 1) + 1, to = y * stride;
    for (let x = 0; x < stride; x++) {
      const left = x >= step ? lines[to + x - step] : 0, up = y ? lines[to + x - stride] : 0;
      const corner = x >= step && y ? lines[to + x - stride - step] : 0;
      lines[to + x] = packed[from + x] + [0, left, up, (left + up) >> 1, filter === 4 ? nearest(left, up, corner) : 0][filter];
    }
  }
  return lines;
}

/**
 * @param {number} left
 * @param {number} up
 * @param {number} corner
 */
function nearest(left, up, corner) {
  const guess = left + up - corner, a = Math.abs(guess - left), b = Math.abs(guess - up), c = Math.abs(guess - corner);
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

/**
 * @param {Uint8Array} lines
 * @param {number} width
 * @param {number} height
 * @param {number} depth
 * @param {number} channels
 */
function unpacked(lines, width, height, depth, channels) {
  const indices = new Uint8Array(width * height), stride = Math.ceil((width * depth * channels) / 8);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = y * width + x;
      if (depth === 8) indices[here] = lines[y * stride + x * channels];
      else if (depth === 16) indices[here] = lines[y * stride + 2 * x * channels] ? 255 : lines[y * stride + 2 * x * channels + 1];
      else indices[here] = (lines[y * stride + ((x * depth) >> 3)] >> (8 - depth - ((x * depth) & 7))) & ((1 << depth) - 1);
    }
  }
  return indices;
}
