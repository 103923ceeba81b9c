// Quantiles, between neighbours in proportion.

/**
 * A quantile of numbers in ascending order; NaN if there is none.
 * @param {ArrayLike<number>} ascending
 * @param {number} share in [0, 1]
 */
export function quantileOf(ascending, share) {
  const count = ascending.length;
  if (!count) return NaN;
  const position = share * (count - 1), left = Math.floor(position), right = Math.min(left + 1, count - 1);
  return between(ascending[left], ascending[right], position % 1);
}

/**
 * The value at a share of the way from one number to the next; beside the finite one if the other is infinite.
 * @param {number} low
 * @param {number} high
 * @param {number} share
 */
export function between(low, high, share) {
  if (low === high || share === 0) return low;
  const lowest = !Number.isFinite(low), highest = !Number.isFinite(high);
  if (lowest && highest) return 0;
  if (lowest) return beside(high, -1);
  if (highest) return beside(low, 1);
  return Number.isFinite(high - low) ? low + (high - low) * share : low * (1 - share) + high * share;
}

/**
 * The next number of 64 bits.
 * @param {number} value finite
 * @param {1 | -1} direction
 */
function beside(value, direction) {
  if (value === 0) return direction * Number.MIN_VALUE;
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  view.setBigInt64(0, view.getBigInt64(0) + BigInt(value > 0 === direction > 0 ? 1 : -1));
  return view.getFloat64(0);
}
