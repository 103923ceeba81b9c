// A recipe: its rules in order, to be added, moved and changed, with what each leaves.

import { choice, download, h, renew } from "../dom.js";
import { counted, labelOf, percent } from "../recipe/labels.js";
import { WORDS, kindsFor, newRule } from "../recipe/kinds.js";
import { commandOf, toYaml } from "../recipe/yaml.js";
import { parts } from "../rules/select.js";
import { fieldsOf } from "./fields.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../rules/select.js").Rule} Rule */

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
      choice({ label: "Add a rule", key: `add-${this.which}`, hide: true, value: "", options: [["", "+ Add a rule …"], ...kindsFor(this.session)],
        change: (kind) => kind && this._change((all) => all.push(newRule(this.session, kind))) }),
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
    const [kind] = parts(rule), key = `${this.which}-${index}`;
    const move = (/** @type {number} */ by) => this._change((rules) => rules.splice(index + by, 0, ...rules.splice(index, 1)));
    return h("li", {},
      h("div", { class: "head" }, h("strong", {}, labelOf(rule)),
        h("button", { type: "button", "data-key": `up-${key}`, "aria-label": `Move rule ${index + 1} up`, disabled: index === 0, click: () => move(-1) }, "↑"),
        h("button", { type: "button", "data-key": `down-${key}`, "aria-label": `Move rule ${index + 1} down`, disabled: index === count - 1, click: () => move(1) }, "↓"),
        h("button", { type: "button", "data-key": `remove-${key}`, "aria-label": `Remove rule ${index + 1}`, click: () => this._change((rules) => rules.splice(index, 1)) }, "✕")),
      h("div", { class: "fields" }, h("span", { class: "kind", title: WORDS[kind] }, kind), ...fieldsOf(this.session, rule, `${this.which}-${index}`, { size: this.session.outcome(this.which).selection.steps[index], change: (edit) => this._change((rules) => edit(parts(rules[index])[1])) })),
      h("div", { class: "result" }, h("div", { class: "bar" }, h("span", {})), h("span", { class: "count" }), h("span", { class: "bounds" })));
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
 * The line above everything: how many stay.
 * @param {Session} session
 */
export function summary(session) {
  const { table, store } = session, outcomes = store.state.recipes.map((_, place) => session.outcome(place)), [first, second] = outcomes.map(({ selection }) => selection);
  const text = (/** @type {number} */ count) => [h("strong", {}, counted(count)), ` of ${counted(table.length)} rows kept (${percent(count / Math.max(1, table.length))})`];
  const problem = outcomes.some(({ error }) => error) ? h("span", { class: "problem" }, " – not all rules are applied") : null;
  if (!second) return h("p", { class: "summary", "data-kept": first.count }, ...text(first.count), problem);
  let both = 0;
  for (let row = 0; row < table.length; row++) both += first.kept[row] & second.kept[row];
  return h("p", { class: "summary", "data-kept": first.count }, h("span", { class: "a" }, "A "), ...text(first.count), h("span", { class: "b" }, " · B "), h("strong", {}, counted(second.count)),
    ` · both ${counted(both)}, only A ${counted(first.count - both)}, only B ${counted(second.count - both)}`, problem);
}
