// Everything a person has set, in one object, which the address holds too.

/** @typedef {import("./rules/select.js").Rule} Rule */
/**
 * @typedef {object} State
 * @property {{name: string, rules: Rule[]}[]} recipes one, or two to compare
 * @property {import("./analysis/filter.js").Filter} filter
 * @property {string} tab which rows the gallery shows
 * @property {string} sort
 * @property {number} tiles how many
 * @property {"mask" | "reference" | "difference" | "none"} layer
 * @property {number} opacity of masks, in [0, 1]
 * @property {boolean} outline
 * @property {string | null} open id of the row that is looked at
 * @property {"auto" | "light" | "dark"} theme
 */

/** @type {State} */
export const START = {
  recipes: [{ name: "recipe", rules: [] }], filter: {}, tab: "kept", sort: "random", tiles: 24, layer: "mask",
  opacity: 0.5, outline: true, open: null, theme: "auto",
};

export class Store {
  /** @param {State} state */
  constructor(state) {
    this.state = state;
    /** @type {((state: State, before: State) => void)[]} */
    this._listeners = [];
  }

  /** @param {(state: State, before: State) => void} listener */
  subscribe(listener) {
    this._listeners.push(listener);
  }

  /** @param {Partial<State>} changes */
  set(changes) {
    const before = this.state;
    this.state = { ...before, ...changes };
    for (const listener of this._listeners) listener(this.state, before);
  }

  /**
   * @param {number} which of the recipes
   * @param {Rule[]} rules
   */
  setRules(which, rules) {
    this.set({ recipes: this.state.recipes.map((recipe, place) => (place === which ? { ...recipe, rules } : recipe)) });
  }
}

/**
 * What differs from a start, as the part of an address behind `#`.
 * @param {State} state
 * @param {State} start
 */
export function toHash(state, start) {
  const changed = Object.entries(state).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(start[/** @type {keyof State} */ (name)]));
  return changed.length ? `#${encodeURIComponent(JSON.stringify(Object.fromEntries(changed)))}` : "";
}

/**
 * The state an address holds; the start's where it says nothing or nonsense.
 * @param {string} hash
 * @param {State} start
 * @returns {State}
 */
export function fromHash(hash, start) {
  try {
    const read = JSON.parse(decodeURIComponent(hash.slice(1)) || "{}");
    const known = Object.entries(read).filter(([name, value]) => name in START && isLike(value, START[/** @type {keyof State} */ (name)]));
    const state = { ...start, ...Object.fromEntries(known) };
    const fine = Array.isArray(state.recipes) && state.recipes.length && state.recipes.every((recipe) => recipe && Array.isArray(recipe.rules) && typeof recipe.name === "string");
    return fine ? state : { ...state, recipes: start.recipes };
  } catch {
    return start;
  }
}

/**
 * @param {unknown} value
 * @param {unknown} example
 */
function isLike(value, example) {
  return example === null ? value === null || typeof value === "string" : typeof value === typeof example && value !== null;
}
