// Histograms of score columns, with an edge at each bound; bins are those of the library's pictures.

import { halvesToEven } from "../rules/decimals.js";

const MOST = 30;
const NOWHERE = 255; // of a row without a finite number

/** @typedef {{low: number, high: number, count: number}} Extent of the finite numbers of a column */
/** @typedef {{edges: number[], bins: Uint8Array, all: Uint32Array}} Histogram bins by row */

/**
 * @param {Float64Array} values
 * @returns {Extent}
 */
export function extentOf(values) {
  let low = Infinity, high = -Infinity, count = 0;
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (!Number.isFinite(value)) continue;
    count++;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!count) return { low: 0, high: 1, count };
  return { low, high: high > low ? high : low + Math.max(1, Math.abs(low) / 1000), count };
}

/**
 * Edges of a histogram, ascending: one at each bound inside, and between two of these bins of equal width.
 * @param {Extent} extent few numbers have fewer bins
 * @param {number[]} bounds
 */
export function binEdges({ low, high, count }, bounds) {
  const most = Math.min(MOST, Math.max(4, Math.ceil(2 * count ** (1 / 3)))); // Rice's rule
  const ends = [low, ...[...new Set(bounds)].filter((bound) => low < bound && bound < high).sort((a, b) => a - b), high];
  const edges = [low], span = high / 2 - low / 2 || 1; // halves, as a range may be more than a number holds
  for (let place = 1; place < ends.length; place++) {
    const start = ends[place - 1], end = ends[place], bins = Math.max(1, halvesToEven(((end / 2 - start / 2) / span) * most));
    for (let bin = 1; bin < bins; bin++) edges.push(start + (end / bins - start / bins) * bin);
    edges.push(end);
  }
  return edges;
}

/**
 * @param {Float64Array} values
 * @param {number[]} edges
 * @returns {Histogram}
 */
export function histogramOf(values, edges) {
  const bins = new Uint8Array(values.length), all = new Uint32Array(edges.length - 1);
  for (let row = 0; row < values.length; row++) {
    bins[row] = Number.isFinite(values[row]) ? binOf(values[row], edges) : NOWHERE;
    if (bins[row] !== NOWHERE) all[bins[row]]++;
  }
  return { edges, bins, all };
}

/**
 * The last bin that begins at a value or below.
 * @param {number} value
 * @param {number[]} edges
 */
function binOf(value, edges) {
  let first = 0, end = edges.length - 2;
  while (first < end) {
    const middle = (first + end + 1) >> 1;
    if (edges[middle] <= value) first = middle;
    else end = middle - 1;
  }
  return first;
}

/**
 * How many of some rows each bin has.
 * @param {Histogram} histogram
 * @param {Uint8Array} chosen 1 for rows that count
 */
export function countsOf({ bins, all }, chosen) {
  const counts = new Uint32Array(256);
  for (let row = 0; row < bins.length; row++) counts[bins[row]] += chosen[row];
  return counts.subarray(0, all.length);
}

/**
 * Heights of bars: rows in a bin of the usual width, so that areas compare where widths differ.
 * @param {Uint32Array} counts
 * @param {number[]} edges
 */
export function heightsOf(counts, edges) {
  const usual = edges[edges.length - 1] / counts.length - edges[0] / counts.length;
  return Float64Array.from(counts, (count, bin) => (count * usual) / (edges[bin + 1] - edges[bin]));
}
