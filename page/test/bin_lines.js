// Reads values and bounds as JSON lines and answers each with the edges and counts of the histogram.
import { createInterface } from "node:readline";
import { binEdges, extentOf, histogramOf } from "../src/analysis/bins.js";

for await (const line of createInterface({ input: process.stdin })) {
  const { values, bounds } = JSON.parse(line), numbers = Float64Array.from(values, (value) => value ?? NaN);
  const edges = binEdges(extentOf(numbers), bounds);
  process.stdout.write(`${JSON.stringify({ edges, counts: [...histogramOf(numbers, edges).all] })}\n`);
}
