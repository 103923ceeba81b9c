// Rows drawn by chance, the same ones each time, and rows to ask a person about.

import { Table } from "../rules/table.js";

const STRATA = 10;

/**
 * Numbers in a random order that follows from their count alone.
 * @param {number} count
 */
export function shuffled(count, seed = 1) {
  const order = Int32Array.from({ length: count }, (_, place) => place);
  let state = seed;
  for (let place = count - 1; place > 0; place--) {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    const other = Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * (place + 1));
    [order[place], order[other]] = [order[other], order[place]];
  }
  return order;
}

/**
 * The next row to ask about: drawn by chance of the kept rows, so that a share of good ones can be told of them; or
 * in turn from each tenth of a score's range, so that a bound can be chosen.
 * @param {Table} table
 * @param {Uint8Array} kept
 * @param {string} how `kept`, or `score:NAME`
 * @param {(row: number) => boolean} isMarked
 * @returns {number} -1 if all are marked
 */
export function nextToAsk(table, kept, how, isMarked) {
  const order = table.ordered("shuffled", () => shuffled(table.length));
  if (!how.startsWith("score:")) return order.find((row) => Boolean(kept[row]) && !isMarked(row)) ?? -1;
  const descending = table.descending(how.slice(6)), stratum = new Int8Array(table.length).fill(-1);
  descending.forEach((row, place) => (stratum[row] = Math.floor((place * STRATA) / descending.length)));
  const marked = new Array(STRATA).fill(0);
  for (let row = 0; row < table.length; row++) if (stratum[row] >= 0 && isMarked(row)) marked[stratum[row]]++;
  for (const turn of [...marked.keys()].sort((a, b) => marked[a] - marked[b])) {
    const row = order.find((candidate) => stratum[candidate] === turn && !isMarked(candidate));
    if (row !== undefined) return row;
  }
  return -1;
}
