// Reads cases as JSON lines, {ids, columns, failed, classNames, skipped, rules}, and answers each with what `select` gives.
import { createInterface } from "node:readline";
import { select } from "../src/rules/select.js";
import { Table } from "../src/rules/table.js";

const NUMBERS = { NaN, Infinity, "-Infinity": -Infinity };
const number = (value) => (value === null ? NaN : typeof value === "string" ? NUMBERS[value] : value);

function column({ kind, precision, values }) {
  if (kind === "number") return { kind, precision, values: Float64Array.from(values, number) };
  if (kind === "text") return { kind, values };
  const offsets = new Int32Array(values.length + 1);
  values.forEach((list, row) => (offsets[row + 1] = offsets[row] + (list ?? []).length));
  return { kind, offsets, values: values.flatMap((list) => list ?? []) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { ids, columns, failed, classNames, skipped = {}, rules } = JSON.parse(line);
  const read = Object.fromEntries(Object.entries(columns).map(([name, value]) => [name, column(value)]));
  const numbers = (values) => values && Float64Array.from(values, number);
  const lacking = Object.fromEntries(Object.entries(skipped).map(([name, { rows, low, high }]) => [name, { rows: Uint8Array.from(rows), low: numbers(low), high: numbers(high) }]));
  try {
    const { state, steps } = select(new Table(ids, read, failed && Uint8Array.from(failed), classNames ?? [], lacking), rules);
    const rankings = {};
    for (const [name, { rank, size, cutoff }] of state.rankings) {
      Object.assign(rankings, { [`${name}_rank`]: [...rank], [`${name}_group_size`]: [...size], [`${name}_cutoff`]: [...cutoff] });
    }
    const answer = { reasons: ids.map((_, row) => state.reason(row)), steps, rankings };
    process.stdout.write(`${JSON.stringify(answer, (_, value) => (Number.isFinite(value) || typeof value !== "number" ? value : String(value)))}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: error.message })}\n`);
  }
}
