// Numbers as the library writes them into reasons and labels.

/**
 * The shortest decimal that is read as the same number, as Python and the database write it: `0.8`, `1.0`, `1e-05`.
 * @param {number} value
 * @param {boolean} single whether it is a number of 32 bits or fewer
 */
export function decimal(value, single = false) {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  const [mantissa, power] = shortest(value, single).split("e"), exponent = Number(power);
  if (exponent < -4 || exponent >= 16) return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  const digits = mantissa.replace(/[-.]/g, ""), sign = mantissa.startsWith("-") ? "-" : "";
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  return `${sign}${digits.slice(0, exponent + 1).padEnd(exponent + 1, "0")}.${digits.slice(exponent + 1) || "0"}`;
}

/**
 * @param {number} value
 * @param {boolean} single
 */
function shortest(value, single) {
  for (let digits = 0; single && digits < 9; digits++) {
    const text = value.toExponential(digits);
    if (Math.fround(Number(text)) === value) return text;
  }
  return value.toExponential();
}

/**
 * A share as the library writes it, without decimals.
 * @param {number} share
 */
export function percents(share) {
  return `${halvesToEven(100 * share)}%`;
}

/**
 * The nearest whole number, as Python rounds.
 * @param {number} value
 */
export function halvesToEven(value) {
  const floor = Math.floor(value), rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
}
