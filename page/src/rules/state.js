// What rules decide: who is out and why, who was kept by what, and ranks in groups.

import { Table } from "./table.js";

/**
 * Ranks of a family of groups by row; 0 where a row is in none. `line` is the one a row is listed under, -1 if none;
 * `lines` are all, with the last rank that stays by group.
 * @typedef {{lines: import("./ranking.js").Lines, cutoffs: Int32Array, line: Int32Array, rank: Int32Array, size: Int32Array, cutoff: Int32Array}} Ranking
 */

/** The state of a selection between two rules. */
export class State {
  /** @param {Table} table */
  constructor(table) {
    this.table = table;
    /** @type {string[]} */
    this.texts = [""];
    /** @type {Map<string, number>} */
    this._codes = new Map([["", 0]]);
    this.dropped = new Int32Array(table.length); // code of a reason, 0 while the row is in
    this.keptBy = new Int32Array(table.length);
    /** Number of the rule that dropped a row, from 1; 0 while it is in. */
    this.droppedAt = new Int32Array(table.length);
    /** @type {Map<number, string>} */
    this.details = new Map(); // what ends the reason of a row alone
    /** By family of groups, with the number of the rule that ranked, from 1. @type {Map<string, Ranking & {step: number}>} */
    this.rankings = new Map();
    /** By number of a rule that filled groups, the rows it took up, best first. @type {Map<number, Int32Array>} */
    this.orders = new Map();
    this.step = 0;
    if (table.failed) {
      const failed = this.code("dropped:failed");
      for (let row = 0; row < table.length; row++) if (table.failed[row]) this.dropped[row] = failed;
    }
  }

  /**
   * A reason as a number.
   * @param {string} text
   */
  code(text) {
    let code = this._codes.get(text);
    if (code === undefined) {
      code = this.texts.push(text) - 1;
      this._codes.set(text, code);
    }
    return code;
  }

  /**
   * @param {number} row
   * @param {number} reason
   * @param {string} detail
   */
  drop(row, reason, detail = "") {
    if (detail) this.details.set(row, detail);
    this.dropped[row] = reason;
    this.droppedAt[row] = this.step;
  }

  /**
   * @param {string} family
   * @param {Ranking} ranking
   */
  addRanking(family, ranking) {
    this.rankings.set(family, { ...ranking, step: this.step });
  }

  /**
   * Drop the rows that are in and have no place in an order.
   * @param {Int32Array} order
   */
  dropOthers(order) {
    const reason = this.code("dropped:null"), ordered = new Uint8Array(this.table.length);
    for (const row of order) ordered[row] = 1;
    for (let row = 0; row < ordered.length; row++) if (!ordered[row] && !this.dropped[row]) this.drop(row, reason);
  }

  /** How many rows are in. */
  get count() {
    let count = 0;
    for (const reason of this.dropped) if (!reason) count++;
    return count;
  }

  /**
   * Why a row is in or out.
   * @param {number} row
   */
  reason(row) {
    return (this.texts[this.dropped[row] || this.keptBy[row]] || "kept:all_rules") + (this.details.get(row) ?? "");
  }
}
