// Every score as a histogram, with bounds to drag.

import { countsOf, heightsOf } from "../analysis/bins.js";
import { dress, h, svg } from "../dom.js";
import { counted, short } from "../recipe/labels.js";
import { parts } from "../rules/select.js";
import { info } from "./tips.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../rules/select.js").Rule} Rule */
/** @typedef {{rule: number, name: string, value: number}} Bound rule -1: none yet, its handle waits at the edge */

const WIDTH = 320, HEIGHT = 96, LOWER = ["above", "low"], UPPER = ["below", "high"];

/** How a bound is read: rows at `low` and `high` stay, those at `above` and `below` do not. @type {Record<string, string>} */
const WORDS = { above: "above", low: "from", below: "below", high: "to" };

export class Histograms {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this.element = h("section", { class: "histograms", "aria-label": "Scores" });
    /** @type {Map<string, HistogramView>} */
    this._views = new Map();
    for (const name of session.scores) {
      const view = new HistogramView(session, name);
      this._views.set(name, view);
      this.element.append(view.element);
    }
    if (!session.scores.length) this.element.append(h("p", { class: "empty" }, "This table has no scores. Compute some with: sds-hf score DATASET --out scores"));
  }

  update() {
    for (const view of this._views.values()) view.update();
  }
}

class HistogramView {
  /**
   * @param {Session} session
   * @param {string} name
   */
  constructor(session, name) {
    this.session = session;
    this.name = name;
    this.extent = session.extent(name);
    this._all = svg("path", { class: "all" });
    this._kept = svg("path", { class: "kept" });
    this._other = svg("path", { class: "other" });
    this._marks = svg("g");
    this._handles = svg("g");
    this._svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 6}`, preserveAspectRatio: "none", role: "group", "aria-label": `Histogram of ${name}` },
      this._all, this._kept, this._other, this._marks, this._handles);
    this._text = h("span", { class: "range" });
    this._cut = h("span", { class: "quiet" });
    const { low, high } = this.extent;
    this.element = h("figure", { class: "histogram" },
      h("figcaption", {}, h("span", { class: "name" }, name), info(session.config.definitions[name]), this._text),
      h("div", { class: "plot" }, this._svg),
      h("div", { class: "axis" }, h("span", {}, short(low)), this._cut, h("span", {}, short(high))));
    /** @type {Map<string, SVGGElement>} */
    this._byKey = new Map();
  }

  update() {
    const bounds = this._bounds(), cutoffs = this._cutoffs();
    this._draw([...bounds.filter(({ rule }) => rule >= 0).map(({ value }) => value), ...cutoffs]);
    this._text.textContent = bounds.filter(({ rule }) => rule >= 0).map(({ name, value }) => `${WORDS[name]} ${short(value)}`).join(", ");
    const keys = new Set(bounds.map(keyOf));
    /** @type {Bound | null} */
    let focused = null; // a bound whose handle goes: one that waited, and is a bound of a rule now
    for (const [key, handle] of this._byKey) {
      if (keys.has(key)) continue;
      if (handle === document.activeElement) focused = /** @type {any} */ (handle).bound;
      handle.remove();
      this._byKey.delete(key);
    }
    for (const bound of bounds) this._place(bound);
    const side = bounds.find(({ name }) => focused && LOWER.includes(name) === LOWER.includes(focused.name));
    if (side) this._byKey.get(keyOf(side))?.focus();
    this._marks.replaceChildren(...cutoffs.map((value) => svg("line", { class: "cutoff", x1: this._x(value), x2: this._x(value), y1: 0, y2: HEIGHT })));
  }

  /** @param {number[]} bounds at which bars end */
  _draw(bounds) {
    const { session } = this, histogram = session.histogram(this.name, bounds), { edges, all } = histogram;
    const heights = heightsOf(all, edges), { highest, cut } = highestOf(heights);
    const kept = (/** @type {number} */ which) => heightsOf(countsOf(histogram, session.outcome(which).selection.kept), edges);
    this._all.setAttribute("d", bars(heights, edges, highest));
    this._kept.setAttribute("d", bars(kept(0), edges, highest));
    this._other.setAttribute("d", session.store.state.recipes[1] ? outline(kept(1), edges, highest) : "");
    const skipped = session.table.skipped[this.name]?.rows.reduce((sum, isSkipped) => sum + isSkipped, 0) ?? 0;
    const nulls = session.table.length - this.extent.count - skipped;
    this._cut.textContent = [skipped ? `${counted(skipped)} not computed` : "", nulls ? `${counted(nulls)} without` : "", cut ? "one bar cut" : ""].filter(Boolean).join(", ");
  }

  /** @returns {Bound[]} */
  _bounds() {
    const { rules, selection } = this.session.outcome(0), { low, high } = this.extent;
    /** @type {Bound[]} */
    const bounds = [];
    rules.forEach((rule, index) => {
      const [kind, settings] = parts(rule);
      if (settings.column !== this.name || (kind !== "threshold" && kind !== "band")) return;
      for (const name of [...LOWER, ...UPPER]) {
        if (settings[name] != null) bounds.push({ rule: index, name, value: selection.steps[index].bounds[name] ?? Number(settings[name]) });
      }
    });
    if (!bounds.some(({ name }) => LOWER.includes(name))) bounds.push({ rule: -1, name: "above", value: low });
    if (!bounds.some(({ name }) => UPPER.includes(name))) bounds.push({ rule: -1, name: "below", value: high });
    return bounds;
  }

  /** Lowest scores that rules of a share keep. */
  _cutoffs() {
    const { rules, selection: { state, steps } } = this.session.outcome(0), { values } = this.session.table.numbers(this.name);
    return rules.flatMap((rule, index) => {
      const [kind, { column }] = parts(rule);
      if (column !== this.name || kind !== "top_k" || !steps[index].after) return [];
      let lowest = Infinity;
      for (let row = 0; row < values.length; row++) {
        if (values[row] < lowest && (!state.dropped[row] || state.droppedAt[row] > index + 1)) lowest = values[row];
      }
      return [lowest];
    });
  }

  /** @param {number} value */
  _x(value) {
    const { low, high } = this.extent;
    return Math.min(WIDTH, Math.max(0, ((value - low) / (high - low)) * WIDTH));
  }

  /** @param {Bound} bound */
  _place(bound) {
    const key = keyOf(bound), { low, high } = this.extent, lower = LOWER.includes(bound.name), x = this._x(bound.value);
    let handle = this._byKey.get(key);
    if (!handle) {
      handle = svg("g", { role: "slider", tabindex: 0, "data-key": `${this.name}:${bound.name}`, "aria-orientation": "horizontal" },
        svg("rect", { class: "shade", y: 0, height: HEIGHT }), svg("rect", { class: "hit", x: -11, y: 0, width: 22, height: HEIGHT + 6 }),
        svg("line", { y1: 0, y2: HEIGHT }), svg("rect", { class: "grip", x: -4, y: HEIGHT / 2 - 14, width: 8, height: 28, rx: 4 }));
      this._byKey.set(key, handle);
      this._handles.append(handle);
      this._listen(handle, key);
    }
    dress(handle, {
      transform: `translate(${x.toFixed(2)} 0)`, class: bound.rule < 0 ? "handle waiting" : "handle",
      "aria-label": `${bound.rule < 0 ? "Add a bound: " : ""}${lower ? "lowest" : "highest"} ${this.name}`,
      "aria-valuemin": low, "aria-valuemax": high, "aria-valuenow": Math.min(high, Math.max(low, bound.value)), "aria-valuetext": bound.rule < 0 ? "no bound" : short(bound.value),
    });
    dress(/** @type {Element} */ (handle.firstChild), lower ? { x: -x, width: bound.rule < 0 ? 0 : x } : { x: 0, width: bound.rule < 0 ? 0 : WIDTH - x });
    /** @type {any} */ (handle).bound = bound;
  }

  /**
   * @param {SVGGElement} handle
   * @param {string} key
   */
  _listen(handle, key) {
    const bound = () => /** @type {Bound} */ (/** @type {any} */ (handle).bound);
    handle.addEventListener("pointerdown", (event) => {
      handle.focus();
      this._svg.setPointerCapture(event.pointerId);
      const move = (/** @type {PointerEvent} */ moved) => {
        const box = this._svg.getBoundingClientRect(), share = (moved.clientX - box.left) / box.width;
        this._move(this._now(key) ?? bound(), share);
      };
      this._svg.addEventListener("pointermove", move);
      const stop = () => {
        this._svg.removeEventListener("pointermove", move);
        this._svg.removeEventListener("pointerup", stop);
        this._svg.removeEventListener("pointercancel", stop);
      };
      this._svg.addEventListener("pointerup", stop);
      this._svg.addEventListener("pointercancel", stop);
      event.preventDefault();
    });
    handle.addEventListener("keydown", (event) => {
      const { low, high } = this.extent, step = (high - low) / (event.shiftKey ? 20 : 200);
      const steps = /** @type {Record<string, number>} */ ({ ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step });
      if (event.key in steps) this._set(bound(), bound().value + steps[event.key]);
      else if (event.key === "Home") this._set(bound(), low);
      else if (event.key === "End") this._set(bound(), high);
      else if (event.key === "Delete" || event.key === "Backspace") this._remove(bound());
      else return;
      event.preventDefault();
      /** @type {HTMLElement | null} */ (this._handles.querySelector(`[data-key="${CSS.escape(`${this.name}:${bound().name}`)}"]`))?.focus();
    });
  }

  /**
   * The bound that a waiting handle has become.
   * @param {string} key
   */
  _now(key) {
    const side = key.split(":")[1];
    const bounds = this._bounds();
    return bounds.find((bound) => keyOf(bound) === key) ?? bounds.find(({ rule, name }) => rule >= 0 && name === side);
  }

  /**
   * @param {Bound} bound
   * @param {number} share of the width
   */
  _move(bound, share) {
    const { low, high } = this.extent, lower = LOWER.includes(bound.name);
    if (lower ? share <= 0 : share >= 1) this._remove(bound);
    else this._set(bound, low + Math.min(1, Math.max(0, share)) * (high - low));
  }

  /**
   * @param {Bound} bound
   * @param {number} value
   */
  _set(bound, value) {
    const { low, high } = this.extent, digits = Math.max(0, Math.ceil(-Math.log10((high - low) / 1000)));
    const rounded = Number(Math.min(high, Math.max(low, value)).toFixed(Math.min(12, digits)));
    const rules = structuredClone(this.session.store.state.recipes[0].rules);
    if (bound.rule >= 0) parts(rules[bound.rule])[1][bound.name] = rounded;
    else {
      const other = rules.findIndex((rule) => rule.threshold?.column === this.name);
      if (other >= 0) rules[other].threshold[bound.name] = rounded;
      else {
        const first = rules.findIndex((rule) => !rule.threshold && !rule.band);
        rules.splice(first < 0 ? rules.length : first, 0, { threshold: { column: this.name, [bound.name]: rounded } });
      }
    }
    this.session.store.setRules(0, rules);
  }

  /** @param {Bound} bound */
  _remove(bound) {
    if (bound.rule < 0) return;
    const rules = structuredClone(this.session.store.state.recipes[0].rules), [, settings] = parts(rules[bound.rule]);
    delete settings[bound.name];
    if (![...LOWER, ...UPPER].some((name) => settings[name] != null)) rules.splice(bound.rule, 1);
    this.session.store.setRules(0, rules);
  }
}

/**
 * What the height of a plot stands for. One bar that would flatten all others is cut.
 * @param {Float64Array} heights
 */
function highestOf(heights) {
  const [first, second = 0] = heights.toSorted().reverse(), cut = first > 3 * second && second > 0;
  return { highest: cut ? 1.5 * second : first || 1, cut };
}

/** @param {Bound} bound */
function keyOf({ rule, name }) {
  return `${rule}:${name}`;
}

/**
 * @param {Float64Array} heights
 * @param {number[]} edges
 * @param {number} highest
 */
function bars(heights, edges, highest) {
  return Array.from(heights, (height, bin) => {
    const left = along(edges[bin], edges), width = along(edges[bin + 1], edges) - left;
    return height ? `M${left.toFixed(2)} ${HEIGHT}V${top(height, highest)}h${Math.max(0.3, width - 0.6).toFixed(2)}V${HEIGHT}z` : "";
  }).join("");
}

/**
 * @param {Float64Array} heights
 * @param {number[]} edges
 * @param {number} highest
 */
function outline(heights, edges, highest) {
  return `M0 ${HEIGHT}${Array.from(heights, (height, bin) => `V${top(height, highest)}H${along(edges[bin + 1], edges).toFixed(2)}`).join("")}V${HEIGHT}`;
}

/**
 * Where a value lies in the width.
 * @param {number} value
 * @param {number[]} edges
 */
function along(value, edges) {
  const low = edges[0], high = edges[edges.length - 1];
  return (value / (high - low) - low / (high - low)) * WIDTH;
}

/**
 * @param {number} height
 * @param {number} highest
 */
function top(height, highest) {
  return (HEIGHT - (height ? Math.min(HEIGHT, Math.max(1.5, (height / highest) * (HEIGHT - 4))) : 0)).toFixed(2);
}
