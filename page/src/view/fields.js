// The settings of a rule, to be changed.

import { choice, h } from "../dom.js";
import { parts } from "../rules/select.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../rules/select.js").Rule} Rule */
/** Makes a change to the settings of the rule. @typedef {(edit: (settings: any) => void) => void} Change */

const QUANTILE = /^q(0(\.\d+)?|1(\.0+)?)$/;
/** @type {[string, string][]} */
const ORDERS = [["column", "a score"], ["worst_rank", "worst rank"], ["rank_mean", "mean rank"]];

/**
 * @param {Session} session
 * @param {Rule} rule
 * @param {string} key what tells its fields from those of others
 * @param {{size: {before: number, after: number} | undefined, change: Change}} editing rows before and after the rule
 * @returns {(HTMLElement | string)[]}
 */
export function fieldsOf(session, rule, key, { size, change }) {
  const [kind, settings] = parts(rule), fields = new Fields(session, settings, key, change), share = () => fields.size(size);
  if (kind === "threshold") return [fields.column(), fields.bound("above"), fields.bound("below")];
  if (kind === "band") return [fields.column(), fields.bound("low"), fields.bound("high")];
  if (kind === "top_k") return [fields.column(), ...share()];
  if (kind === "top_per_group") return [...fields.order(false), fields.several("by", "of each", session.groupColumns, 1), ...share()];
  if (kind === "at_most_per_group") return [fields.number("rows", "rows", 1, { min: 1, step: 1 }), fields.several("by", "of each", session.groupColumns, 1), ...fields.order(true)];
  if (kind === "rank_mean" || kind === "worst_rank") return [fields.several("columns", "of", session.scores, 2), fields.within(), ...share()];
  if (kind === "random") return [...share(), fields.seed()];
  if (kind === "stratified") {
    return [fields.column(), ...share(), fields.number("strata", "strata", 50, { min: 1, max: 10000, step: 1 }), fields.number("drop_lowest", "drop lowest", 0.1, { min: 0, max: 0.99 })];
  }
  return [h("span", { class: "quiet" }, "this page cannot change rules of this kind")];
}

class Fields {
  /**
   * @param {Session} session
   * @param {any} settings of the rule
   * @param {string} key
   * @param {Change} change
   */
  constructor(session, settings, key, change) {
    this.session = session;
    this.settings = settings;
    this.key = key;
    this.change = change;
  }

  /**
   * @param {string} name
   * @param {any} value null removes it
   */
  _set(name, value) {
    this.change((settings) => {
      if (value === null || (Array.isArray(value) && !value.length)) delete settings[name];
      else settings[name] = value;
    });
  }

  column() {
    const { scores } = this.session, { column } = this.settings, names = scores.includes(column) || !column ? scores : [column, ...scores];
    return choice({ label: "of", key: `column-${this.key}`, value: column, options: names.map((name) => [name, name]), change: (name) => this._set("column", name) });
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {number} normal what it is where it is not set
   * @param {Record<string, any>} limits
   */
  number(name, label, normal, limits = {}) {
    return field(label, `${name}-${this.key}`, this.settings[name] ?? normal, { type: "number", step: "any", ...limits },
      (text) => text !== "" && Number.isFinite(Number(text)) && this._set(name, Number(text)));
  }

  seed() {
    return this.number("seed", "seed", 0, { step: 1 });
  }

  /** @param {string} name */
  bound(name) {
    return field(name, `${name}-${this.key}`, this.settings[name] ?? "",
      { type: "text", inputmode: "decimal", placeholder: "none", pattern: "-?[0-9.]*(e-?[0-9]+)?|q(0(\\.[0-9]+)?|1(\\.0+)?)", title: "a number, or a quantile such as q0.15" },
      (text) => {
        if (text === "") this._set(name, null);
        else if (QUANTILE.test(text)) this._set(name, text);
        else if (Number.isFinite(Number(text))) this._set(name, Number(text));
      });
  }

  /**
   * A share of the rows, or a number of them; the other one is set to what comes nearest.
   * @param {{before: number, after: number} | undefined} size
   */
  size(size) {
    const isShare = this.settings.target == null, { before = 1, after = 1 } = size ?? {};
    const resize = (/** @type {string} */ name) => this.change((settings) => {
      delete settings.fraction;
      delete settings.target;
      if (name === "target") settings.target = Math.max(1, after);
      else settings.fraction = Math.max(0.01, Math.round((100 * after) / Math.max(1, before)) / 100);
    });
    return [
      choice({ label: "keep", key: `size-${this.key}`, value: isShare ? "fraction" : "target", options: [["fraction", "share"], ["target", "rows"]], change: resize }),
      isShare ? this.number("fraction", "share", 1, { min: 0.0001, max: 1 }) : this.number("target", "rows", 1, { min: 1, step: 1 }),
    ];
  }

  /**
   * What is best: a score, or ranks in several.
   * @param {boolean} optional whether chance may decide too
   */
  order(optional) {
    const { session, settings } = this, how = ORDERS.find(([name]) => settings[name] != null)?.[0] ?? "chance";
    const orders = ORDERS.filter(([name]) => name === "column" || session.scores.length > 1 || name === how);
    const reorder = (/** @type {string} */ name) => this.change((own) => {
      const columns = [...new Set([own.column, ...(own.worst_rank ?? own.rank_mean ?? []), ...session.scores])].filter(Boolean);
      for (const other of ["column", "worst_rank", "rank_mean", "seed", ...(name === "column" || name === "chance" ? ["within"] : [])]) delete own[other];
      if (name === "chance") own.seed = 0;
      else own[name] = name === "column" ? columns[0] : columns.slice(0, 2);
    });
    return [
      choice({ label: "best by", key: `order-${this.key}`, value: how, options: optional ? [...orders, ["chance", "chance"]] : orders, change: reorder }),
      ...(how === "column" ? [this.column()] : how === "chance" ? [this.seed()] : [this.several(how, "of", session.scores, 2), this.within()]),
    ];
  }

  within() {
    return this.several("within", "ranks within", this.session.groupColumns, 0);
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {string[]} options
   * @param {number} least how many there must be
   */
  several(name, label, options, least) {
    const chosen = [this.settings[name] ?? []].flat();
    return h("fieldset", {}, h("legend", {}, label), ...[...new Set([...chosen, ...options])].map((option) => {
      const checked = chosen.includes(option);
      const box = h("input", { type: "checkbox", "data-key": `${name}-${option}-${this.key}`, checked, disabled: checked && chosen.length <= least,
        change: () => this._set(name, box.checked ? [...chosen, option] : chosen.filter((other) => other !== option)) });
      return h("label", { class: "check" }, box, option);
    }));
  }
}

/**
 * @param {string} label
 * @param {string} key
 * @param {any} value
 * @param {Record<string, any>} props
 * @param {(text: string) => void} change
 */
function field(label, key, value, props, change) {
  const input = h("input", { ...props, value, "data-key": key, size: 6, change: () => input.validity.valid && change(input.value.trim()) });
  input.addEventListener("keydown", (event) => event.key === "Enter" && input.blur());
  return h("label", {}, h("span", {}, label), input);
}
