// Reads rules as JSON lines and answers each with its label.
import { createInterface } from "node:readline";
import { labelOf } from "../src/recipe/labels.js";

for await (const line of createInterface({ input: process.stdin })) process.stdout.write(`${JSON.stringify(labelOf(JSON.parse(line)))}\n`);
