// Histograms of score columns: each row's bin once, counts as often as a bound moves.

import { Table } from "../rules/table.js";

export const BINS = 48;

/** @typedef {{low: number, high: number, bins: Uint8Array, all: Uint32Array, nulls: number}} Histogram */

/**
 * @param {Table} table
 * @param {string} name
 * @returns {Histogram} bins by row, 255 for a row without a finite number
 */
export function histogramOf(table, name) {
  const { values } = table.numbers(name);
  let low = Infinity, high = -Infinity, nulls = 0;
  for (const value of values) {
    if (!Number.isFinite(value)) nulls++;
    else {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const bins = new Uint8Array(values.length).fill(255), all = new Uint32Array(BINS), scale = BINS / (high - low);
  for (let row = 0; row < values.length; row++) {
    if (!Number.isFinite(values[row])) continue;
    const bin = Math.min(BINS - 1, Math.floor((values[row] - low) * scale));
    bins[row] = bin;
    all[bin]++;
  }
  return { low, high, bins, all, nulls };
}

/**
 * How many of some rows each bin has.
 * @param {Histogram} histogram
 * @param {Uint8Array} chosen 1 for rows that count
 */
export function countsOf({ bins }, chosen) {
  const counts = new Uint32Array(256);
  for (let row = 0; row < bins.length; row++) counts[bins[row]] += chosen[row];
  return counts.subarray(0, BINS);
}
