// The rows that matter: by rule those nearest below and above its bound; by group the last in and the first out.

import { SIGNS } from "../rules/bounds.js";
import { groupWords } from "../rules/columns.js";
import { groupOf } from "../rules/ranking.js";
import { parts } from "../rules/select.js";
import { SHARES, labelOf, short, wordsOf } from "../recipe/labels.js";

/** @typedef {import("../rules/select.js").Rule} Rule */
/** @typedef {import("../rules/select.js").Selection} Selection */
/** @typedef {{heading: string, rows: {row: number, note: string}[]}} Section */

/**
 * @param {Selection} selection
 * @param {Rule[]} rules
 * @param {(row: number) => boolean} test which rows may be shown
 * @param {number} each rows on each side of a bound
 * @returns {Section[]}
 */
export function borderline(selection, rules, test, each = 6) {
  return rules.flatMap((rule, index) => {
    const [kind, settings] = parts(rule);
    const title = `Rule ${index + 1}: ${labelOf(rule)}`;
    return kind === "threshold" || kind === "band"
      ? atBounds(selection, index, settings, title, test, each)
      : kind === "at_most_per_group" ? atFull(selection, rules, index, title, test, each) : atRanks(selection, index, title, test, each);
  }).filter(({ rows }) => rows.length);
}

/**
 * @param {Selection} selection
 * @param {number} index
 * @param {any} settings
 * @param {string} title
 * @param {(row: number) => boolean} test
 * @param {number} each
 * @returns {Section[]}
 */
function atBounds({ state, steps }, index, settings, title, test, each) {
  const { values } = state.table.numbers(settings.column), descending = state.table.descending(settings.column);
  const entered = (/** @type {number} */ row) => (!state.dropped[row] || state.droppedAt[row] > index) && test(row);
  return Object.keys(SIGNS).filter((name) => settings[name] != null).flatMap((name) => {
    const bound = steps[index].bounds[name] ?? Number(settings[name]), below = name === "below" || name === "high";
    /** @type {{inside: number[], outside: number[]}} */
    const { inside, outside } = { inside: [], outside: [] };
    const order = below ? descending : descending.toReversed();
    let start = 0; // the first row on the side that stays
    for (let end = order.length; start < end; ) {
      const middle = (start + end) >> 1;
      if (below ? values[order[middle]] > bound : values[order[middle]] < bound) start = middle + 1;
      else end = middle;
    }
    for (let place = start; place < order.length && inside.length < each; place++) {
      const row = order[place];
      if (entered(row)) (state.droppedAt[row] === index + 1 ? outside : inside).push(row);
    }
    for (let place = start - 1; place >= 0 && outside.length < each; place--) if (entered(order[place])) outside.push(order[place]);
    const noted = (/** @type {number[]} */ rows) => rows.slice(0, each).map((row) => ({ row, note: `${settings.column} ${short(values[row], [bound])}` }));
    return [
      { heading: `${title} – just inside ${short(bound)}`, rows: noted(inside) },
      { heading: `${title} – just outside ${short(bound)}`, rows: noted(outside) },
    ];
  });
}

/**
 * @param {Selection} selection
 * @param {number} index
 * @param {string} title
 * @param {(row: number) => boolean} test
 * @param {number} each
 * @returns {Section[]}
 */
function atRanks({ state }, index, title, test, each) {
  /** @type {{row: number, note: string, distance: number}[]} */
  const inside = [];
  /** @type {{row: number, note: string, distance: number}[]} */
  const outside = [];
  for (const [name, ranking] of state.rankings) {
    if (ranking.step !== index + 1) continue;
    for (let row = 0; row < state.table.length; row++) {
      const rank = ranking.rank[row], distance = rank - ranking.cutoff[row];
      if (!rank || distance > each || distance <= -each || !test(row)) continue;
      const out = state.droppedAt[row] === index + 1, where = SHARES.includes(name) ? "" : `${groupWords(state.table, name, groupOf(ranking, row))}: `;
      const note = `${where}rank ${rank} of ${ranking.size[row]}, first ${ranking.cutoff[row]} stay`;
      if (out && distance > 0) outside.push({ row, note, distance });
      else if (!state.dropped[row] && distance <= 0) inside.push({ row, note, distance: -distance });
    }
  }
  const nearest = (/** @type {typeof inside} */ rows) => [...new Map(rows.sort((a, b) => a.distance - b.distance).map((line) => [line.row, line])).values()].slice(0, 2 * each);
  return [{ heading: `${title} – last in`, rows: nearest(inside) }, { heading: `${title} – first out`, rows: nearest(outside) }];
}

/**
 * @param {Selection} selection
 * @param {Rule[]} rules
 * @param {number} index
 * @param {string} title
 * @param {(row: number) => boolean} test
 * @param {number} each
 * @returns {Section[]}
 */
function atFull(selection, rules, index, title, test, each) {
  const { state } = selection, order = [...(state.orders.get(index + 1) ?? [])].filter(test);
  const lastIn = order.filter((row) => !state.dropped[row]).slice(-2 * each).reverse(), firstOut = order.filter((row) => state.droppedAt[row] === index + 1).slice(0, 2 * each);
  const noted = (/** @type {number[]} */ rows) => rows.map((row) => ({ row, note: wordsOf(selection, rules, row) }));
  return [{ heading: `${title} – last in`, rows: noted(lastIn) }, { heading: `${title} – first out`, rows: noted(firstOut) }];
}
