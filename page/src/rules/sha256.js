// SHA-256, at once: the browser's own answers later, and one call for each of 100,000 ids takes seconds.

const ROUNDS = new Int32Array(64);
const START = new Int32Array(8);
{
  let found = 0;
  for (let candidate = 2; found < 64; candidate++) {
    let prime = true;
    for (let factor = 2; factor * factor <= candidate; factor++) if (candidate % factor === 0) prime = false;
    if (!prime) continue;
    if (found < 8) START[found] = fraction(Math.sqrt(candidate));
    ROUNDS[found++] = fraction(Math.cbrt(candidate));
  }
}

/** @param {number} value the first 32 bits after its point */
function fraction(value) {
  return ((value - Math.floor(value)) * 2 ** 32) | 0;
}

const ENCODER = new TextEncoder();
const WORDS = new Int32Array(64);

/**
 * The first two words of the digest of a text.
 * @param {string} text
 * @returns {[number, number]} unsigned
 */
export function firstWords(text) {
  const bytes = ENCODER.encode(text), length = bytes.length;
  const padded = new Uint8Array(((length + 72) >> 6) << 6);
  padded.set(bytes);
  padded[length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(length / 2 ** 29));
  view.setUint32(padded.length - 4, length << 3);
  const state = Int32Array.from(START);
  for (let block = 0; block < padded.length; block += 64) mix(state, view, block);
  return [state[0] >>> 0, state[1] >>> 0];
}

/**
 * @param {Int32Array} state
 * @param {DataView} view
 * @param {number} block
 */
function mix(state, view, block) {
  for (let i = 0; i < 16; i++) WORDS[i] = view.getInt32(block + 4 * i);
  for (let i = 16; i < 64; i++) {
    const x = WORDS[i - 15], y = WORDS[i - 2];
    const low = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3), high = turn(y, 17) ^ turn(y, 19) ^ (y >>> 10);
    WORDS[i] = (WORDS[i - 16] + low + WORDS[i - 7] + high) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const first = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[i] + WORDS[i]) | 0;
    const second = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g; g = f; f = e; e = (d + first) | 0;
    d = c; c = b; b = a; a = (first + second) | 0;
  }
  [a, b, c, d, e, f, g, h].forEach((value, place) => (state[place] = (state[place] + value) | 0));
}

/**
 * @param {number} word
 * @param {number} bits
 */
function turn(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}
