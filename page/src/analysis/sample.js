// Rows drawn by chance, the same ones each time, and rows to ask a person about.

import { Table } from "../rules/table.js";

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
 * The next row to ask about.
 * @param {Table} table
 * @param {Uint8Array} kept
 * @param {readonly string[] | null} sample ids that were drawn before; kept rows, drawn by chance, if null
 * @param {(id: string) => boolean} isMarked
 * @returns {number} -1 if all are marked
 */
export function nextToAsk(table, kept, sample, isMarked) {
  if (sample) return table.rowOf(sample.find((id) => !isMarked(id) && table.rowOf(id) >= 0) ?? "");
  return table.ordered("shuffled", () => shuffled(table.length)).find((row) => Boolean(kept[row]) && !isMarked(table.ids[row])) ?? -1;
}
