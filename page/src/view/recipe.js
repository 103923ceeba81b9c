// A recipe: its rules in order, to be added, moved and changed, with what each leaves.

import { choice, h, renew } from "../dom.js";
import { counted, labelOf, percent } from "../recipe/labels.js";
import { commandOf, toYaml } from "../recipe/yaml.js";
import { download } from "../dom.js";
import { RULE_KINDS, parts } from "../rules/select.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../rules/select.js").Rule} Rule */

/** @type {Record<string, string>} */
const WORDS = {
  threshold: "threshold: beyond a bound", band: "band: between two bounds", top_k: "top_k: the best by a score",
  top_per_group: "top_per_group: the best of each group", rank_mean: "rank_mean: the best by several scores, on average", worst_rank: "worst_rank: the best by their weakest score",
  random: "random: drawn by chance", stratified: "stratified: from the whole range of a score",
};

export class RecipePanel {
  /**
   * @param {Session} session
   * @param {number} which of the recipes
   */
  constructor(session, which) {
    this.session = session;
    this.which = which;
    this.element = h("section", { class: `recipe recipe-${which}`, "aria-label": which ? "Recipe B" : "Recipe A" });
    this._drawn = "";
  }

  update() {
    const { recipes } = this.session.store.state, recipe = recipes[this.which];
    this.element.hidden = !recipe;
    if (!recipe) return;
    const structure = JSON.stringify([recipe, recipes.length]), active = document.activeElement;
    const typing = active instanceof HTMLInputElement && this.element.contains(active) && ["text", "number"].includes(active.type);
    if (structure !== this._drawn && !typing) {
      this._drawn = structure;
      renew(this.element, this._parts(recipe, recipes.length));
    }
    this._count();
  }

  /**
   * @param {{name: string, rules: Rule[]}} recipe
   * @param {number} recipes
   */
  _parts({ name, rules }, recipes) {
    const { config, store } = this.session, yaml = toYaml(name, rules), file = `${name.replace(/[^\w.-]+/g, "-") || "recipe"}.yaml`;
    const command = commandOf(config.scores, file);
    return [
      h("div", { class: "head" }, h("h2", {}, recipes > 1 ? `Recipe ${"AB"[this.which]}` : "Recipe"),
        choice({ label: "Start from", key: `start-${this.which}`, hide: true, value: "", change: (chosen) => this._start(chosen),
          options: [["", name], ...config.recipes.map((known, place) => /** @type {[string, string]} */ ([String(place), `start from ${known.name}`])), ["empty", "start without rules"]] }),
        recipes > 1
          ? h("button", { type: "button", "data-key": `close-${this.which}`, click: () => store.set({ recipes: store.state.recipes.filter((_, place) => place !== this.which), tab: "kept" }) }, "Close")
          : h("button", { type: "button", "data-key": "compare", title: "A second recipe beside this one", click: () => store.set({ recipes: [store.state.recipes[0], { name: `${name}-b`, rules: structuredClone(rules) }] }) }, "Compare")),
      h("p", { class: "problem", role: "status" }),
      h("ol", { class: "rules" }, ...rules.map((rule, index) => this._rule(rule, index, rules.length))),
      rules.length ? null : h("p", { class: "empty" }, "No rule yet: every row that could be scored stays. Drag a bound in a histogram, or add a rule."),
      choice({ label: "Add a rule", key: `add-${this.which}`, hide: true, value: "", options: [["", "+ Add a rule …"], ...RULE_KINDS.map((kind) => /** @type {[string, string]} */ ([kind, WORDS[kind] ?? kind]))],
        change: (kind) => kind && this._change((all) => all.push(this._fresh(kind))) }),
      h("details", { class: "save" }, h("summary", { "data-key": `yaml-${this.which}` }, "YAML and command"),
        h("pre", { tabindex: 0, "aria-label": "The recipe as YAML" }, yaml), h("pre", { tabindex: 0, class: "command", "aria-label": "The command that gives the same rows" }, command),
        h("div", { class: "buttons" }, h("button", { type: "button", class: "save-yaml", click: () => download(file, yaml) }, `Save ${file}`),
          h("button", { type: "button", click: () => navigator.clipboard?.writeText(command) }, "Copy command"))),
    ];
  }

  /** Counts beside the rules, which change more often than the rules' fields. */
  _count() {
    const { selection: { steps }, error } = this.session.outcome(this.which), total = Math.max(1, this.session.table.length);
    const problem = /** @type {HTMLElement} */ (this.element.querySelector(".problem"));
    problem.textContent = error ?? (steps.some(({ after }) => !after) ? "Nothing is left: `sds-hf select` would refuse this recipe." : "");
    this.element.querySelectorAll(".rules > li").forEach((line, index) => {
      const step = steps[index], bar = /** @type {HTMLElement} */ (line.querySelector(".bar > span"));
      const count = /** @type {HTMLElement} */ (line.querySelector(".count"));
      count.textContent = step ? `${counted(step.before)} → ${counted(step.after)}` : "not applied";
      count.title = step ? Object.entries(step.dropped).map(([reason, rows]) => `${reason.replace("dropped:", "")} ${counted(rows)}`).join(", ") : "";
      bar.style.setProperty("width", step ? `${(100 * step.after) / total}%` : "0");
      const bounds = step ? Object.entries(step.bounds).map(([name, value]) => `${name} is ${Number(value.toPrecision(4))}`).join(", ") : "";
      /** @type {HTMLElement} */ (line.querySelector(".bounds")).textContent = bounds;
    });
  }

  /**
   * @param {Rule} rule
   * @param {number} index
   * @param {number} count
   */
  _rule(rule, index, count) {
    const [kind, settings] = parts(rule), key = `${this.which}-${index}`;
    const move = (/** @type {number} */ by) => this._change((rules) => rules.splice(index + by, 0, ...rules.splice(index, 1)));
    return h("li", {},
      h("div", { class: "head" }, h("strong", {}, labelOf(rule)),
        h("button", { type: "button", "data-key": `up-${key}`, "aria-label": `Move rule ${index + 1} up`, disabled: index === 0, click: () => move(-1) }, "↑"),
        h("button", { type: "button", "data-key": `down-${key}`, "aria-label": `Move rule ${index + 1} down`, disabled: index === count - 1, click: () => move(1) }, "↓"),
        h("button", { type: "button", "data-key": `remove-${key}`, "aria-label": `Remove rule ${index + 1}`, click: () => this._change((rules) => rules.splice(index, 1)) }, "✕")),
      h("div", { class: "fields" }, h("span", { class: "kind", title: WORDS[kind] }, kind), ...this._fields(kind, settings, index)),
      h("div", { class: "result" }, h("div", { class: "bar" }, h("span", {})), h("span", { class: "count" }), h("span", { class: "bounds" })));
  }

  /**
   * @param {string} kind
   * @param {any} settings
   * @param {number} index
   */
  _fields(kind, settings, index) {
    const { session } = this, key = (/** @type {string} */ name) => `${name}-${this.which}-${index}`;
    const set = (/** @type {string} */ name, /** @type {any} */ value) => this._change((rules) => {
      const own = parts(rules[index])[1];
      if (value === null || (Array.isArray(value) && !value.length)) delete own[name];
      else own[name] = value;
    });
    const column = () => choice({ label: "of", key: key("column"), value: settings.column, options: names(session.scores, settings.column), change: (name) => set("column", name) });
    const number = (/** @type {string} */ name, /** @type {string} */ label, /** @type {any} */ value, /** @type {Record<string, any>} */ limits = {}) =>
      field(label, key(name), value, { type: "number", step: "any", ...limits }, (text) => text !== "" && Number.isFinite(Number(text)) && set(name, Number(text)));
    const bound = (/** @type {string} */ name, /** @type {string} */ label) => field(label, key(name), settings[name] ?? "",
      { type: "text", inputmode: "decimal", placeholder: "none", pattern: "-?[0-9.]*(e-?[0-9]+)?|q(0(\\.[0-9]+)?|1(\\.0+)?)", title: "a number, or a quantile such as q0.15" },
      (text) => {
        if (text === "") set(name, null);
        else if (/^q(0(\.\d+)?|1(\.0+)?)$/.test(text)) set(name, text);
        else if (Number.isFinite(Number(text))) set(name, Number(text));
      });
    const size = () => {
      const share = settings.target == null;
      return [
        choice({ label: "keep", key: key("size"), value: share ? "fraction" : "target", options: [["fraction", "share"], ["target", "rows"]], change: (name) => this._resize(index, name) }),
        share ? number("fraction", "share", settings.fraction, { min: 0.0001, max: 1 }) : number("target", "rows", settings.target, { min: 1, step: 1 }),
      ];
    };
    const several = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string[]} */ options) => h("fieldset", {}, h("legend", {}, label),
      ...options.map((option) => {
        const chosen = [settings[name]].flat(), box = h("input", { type: "checkbox", "data-key": key(`${name}-${option}`), checked: chosen.includes(option),
          change: () => set(name, box.checked ? [...chosen, option] : chosen.filter((/** @type {string} */ other) => other !== option)) });
        return h("label", { class: "check" }, box, option);
      }));
    if (kind === "threshold") return [column(), bound("above", "above"), bound("below", "below")];
    if (kind === "band") return [column(), bound("low", "low"), bound("high", "high")];
    if (kind === "top_k") return [column(), ...size()];
    if (kind === "top_per_group") return [settings.column ? column() : h("span", {}), several("by", "by", session.groupColumns), ...size()];
    if (kind === "rank_mean" || kind === "worst_rank") return [several("columns", "of", session.scores), ...size()];
    if (kind === "random") return [...size(), number("seed", "seed", settings.seed ?? 0, { step: 1 })];
    if (kind === "stratified") {
      return [column(), ...size(), number("strata", "strata", settings.strata ?? 50, { min: 1, step: 1 }), number("drop_lowest", "drop lowest", settings.drop_lowest ?? 0.1, { min: 0, max: 0.99 })];
    }
    return [h("span", { class: "quiet" }, "this page cannot change rules of this kind")];
  }

  /**
   * @param {number} index
   * @param {string} name
   */
  _resize(index, name) {
    const { before = 1, after = 1 } = this.session.outcome(this.which).selection.steps[index] ?? {};
    this._change((rules) => {
      const settings = parts(rules[index])[1];
      delete settings.fraction;
      delete settings.target;
      if (name === "target") settings.target = Math.max(1, after);
      else settings.fraction = Math.max(0.01, Math.round((100 * after) / Math.max(1, before)) / 100);
    });
  }

  /** @param {string} kind */
  _fresh(kind) {
    const { session } = this, column = session.scores[0] ?? "", groups = ["num_classes_present", "classes_present"].filter((name) => name in session.table.columns);
    const settings = {
      threshold: { column, above: "q0.1" }, band: { column, low: "q0.1", high: "q0.9" }, top_k: { column, fraction: 0.5 },
      top_per_group: { column, by: groups.length ? groups : session.groupColumns.slice(0, 1), fraction: 0.6 },
      worst_rank: { columns: session.scores.slice(0, 2), fraction: 0.5 }, rank_mean: { columns: session.scores.slice(0, 2), fraction: 0.5 }, random: { fraction: 0.5, seed: 0 },
      stratified: { column, fraction: 0.5, strata: 50, drop_lowest: 0.1 },
    }[kind];
    return { [kind]: settings };
  }

  /** @param {string} chosen */
  _start(chosen) {
    if (chosen === "") return;
    const { store, config } = this.session, from = chosen === "empty" ? { name: "recipe", rules: [] } : config.recipes[Number(chosen)];
    store.set({ recipes: store.state.recipes.map((recipe, place) => (place === this.which ? structuredClone(from) : recipe)) });
  }

  /** @param {(rules: Rule[]) => void} change */
  _change(change) {
    const rules = structuredClone(this.session.store.state.recipes[this.which].rules);
    change(rules);
    this.session.store.setRules(this.which, rules);
  }
}

/**
 * @param {string[]} options
 * @param {string} value
 * @returns {[string, string][]}
 */
function names(options, value) {
  return (options.includes(value) || !value ? options : [value, ...options]).map((name) => [name, name]);
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

/**
 * The line above everything: how many stay.
 * @param {Session} session
 */
export function summary(session) {
  const { table, store } = session, [first, second] = store.state.recipes.map((_, place) => session.outcome(place).selection);
  const text = (/** @type {number} */ count) => [h("strong", {}, counted(count)), ` of ${counted(table.length)} rows kept (${percent(count / Math.max(1, table.length))})`];
  if (!second) return h("p", { class: "summary", "data-kept": first.count }, ...text(first.count));
  let both = 0;
  for (let row = 0; row < table.length; row++) both += first.kept[row] & second.kept[row];
  return h("p", { class: "summary", "data-kept": first.count }, h("span", { class: "a" }, "A "), ...text(first.count), h("span", { class: "b" }, " · B "), h("strong", {}, counted(second.count)),
    ` · both ${counted(both)}, only A ${counted(first.count - both)}, only B ${counted(second.count - both)}`);
}
