// The page: reads what it was told, the table, and shows it.

import { readTable } from "./data/parquet.js";
import { openPictures } from "./data/pictures.js";
import { choice, download, h, renew } from "./dom.js";
import { Session } from "./session.js";
import { START, Store, fromHash, toHash } from "./store.js";
import { Classes } from "./view/classes.js";
import { Gallery } from "./view/gallery.js";
import { Histograms } from "./view/histograms.js";
import { RecipePanel, summary } from "./view/recipe.js";
import { RowView } from "./view/row.js";
import { showTips } from "./view/tips.js";

/** @typedef {import("./session.js").Config} Config */
/** @typedef {import("./store.js").State} State */

const CONFIG = "explore.json";
const root = /** @type {HTMLElement} */ (document.getElementById("page"));

/** @returns {Promise<Config>} */
async function readConfig() {
  const inside = document.getElementById("explore-data");
  if (inside) return JSON.parse(inside.textContent ?? "");
  const answer = await fetch(CONFIG);
  if (!answer.ok) throw new Error(`${CONFIG} is not there (${answer.status}): serve this folder whole`);
  return answer.json();
}

async function start() {
  const config = await readConfig();
  document.title = `${config.title} · sds-hf`;
  const { table, errors } = await readTable(config.tables, config.classNames, config.halves);
  const opened = { ...START, recipes: [structuredClone(config.recipes[0] ?? START.recipes[0])], tab: config.sections ? "matter" : "kept" };
  const store = new Store(fromHash(location.hash, opened)), pictures = await openPictures(config.pictures);
  const session = new Session(config, table, errors, pictures, store);
  if (!pictures?.references && ["reference", "difference"].includes(store.state.layer)) store.state.layer = "mask";
  session.late("the marks", session.marks.load());
  show(session, opened);
  showTips();
  session.readPixels();
}

/**
 * @param {Session} session
 * @param {State} opened what the address leaves out
 */
function show(session, opened) {
  const { store, config } = session;
  const recipes = [new RecipePanel(session, 0), new RecipePanel(session, 1)], histograms = new Histograms(session), classes = new Classes(session);
  const gallery = new Gallery(session), row = new RowView(session, () => gallery.rows), head = h("div", { class: "count", role: "status" });
  const marks = h("div", { class: "marks" }), notices = h("div", { class: "notices", role: "alert" });
  renew(root, [
    h("header", {}, h("h1", {}, config.title), head,
      marks, choice({ label: "Theme", key: "theme", hide: true, value: store.state.theme, options: [["auto", "auto theme"], ["light", "light"], ["dark", "dark"]], change: (theme) => store.set({ theme: /** @type {State["theme"]} */ (theme) }) }),
      h("nav", { class: "jump", "aria-label": "Parts of the page" }, ...Object.entries({ Recipe: recipes[0], Scores: histograms, Rows: gallery, Classes: classes }).map(([name, { element }]) =>
        h("button", { type: "button", click: () => element.scrollIntoView() }, name)))),
    notices,
    h("main", {}, h("div", { class: "recipes" }, ...recipes.map(({ element }) => element)),
      h("div", { class: "results" }, histograms.element, gallery.element, classes.element)),
    row.element,
  ]);
  /** @type {HTMLElement | null} */
  let opener = null;
  /**
   * @param {State} state
   * @param {State | null} before
   */
  const update = (state, before) => {
    document.documentElement.dataset.theme = state.theme;
    renew(head, [summary(session)]);
    renew(marks, marksOf(session, row));
    if (notices.childElementCount !== session.notices.length) renew(notices, session.notices.map((text) => h("p", { class: "problem" }, text)));
    histograms.update();
    classes.update();
    recipes.forEach((panel) => panel.update());
    gallery.update(state, before);
    if (before && before.open === null && state.open !== null) opener = /** @type {HTMLElement | null} */ (document.activeElement);
    const shut = before && state.open === null ? before.open : null;
    row.update();
    if (shut !== null) (/** @type {HTMLElement | null} */ (root.querySelector(`[data-key="${CSS.escape(`row-${shut}`)}"]`)) ?? opener)?.focus();
    if (state.filter.text || state.open !== null) session.readCaptions();
    keepAddress(state, opened);
  };
  /** @type {State | null} */
  let last = null;
  let waiting = false;
  store.subscribe((_, before) => {
    last ??= before;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const earlier = last;
      last = null;
      update(store.state, earlier);
    });
  });
  update(store.state, null);
  addEventListener("hashchange", () => {
    const state = fromHash(location.hash, opened);
    if (toHash(state, opened) !== toHash(store.state, opened)) store.set(state);
  });
  document.addEventListener("keydown", (event) => {
    const tile = event.target instanceof HTMLElement ? event.target.closest(".tile") : null;
    if (tile instanceof HTMLElement && (event.key === "1" || event.key === "0")) {
      session.marks.set(/** @type {string} */ (tile.dataset.id), event.key === "1").then(() => store.set({}));
    }
  });
  root.dataset.ready = "true";
  performance.mark("ready");
}

/**
 * @param {Session} session
 * @param {RowView} row
 */
function marksOf({ marks, config }, row) {
  const all = [...marks.byId.values()], good = all.filter(({ mark }) => mark).length, [sample] = marks.samples.keys();
  const title = sample ? `Shows the rows of the ${sample} sample` : "Shows kept rows drawn by chance; for sds-hf certify draw some before: sds-hf sample SELECTION";
  const who = h("input", { type: "text", "aria-label": "Your name", placeholder: "your name", value: marks.who, size: 10, "data-key": "who", change: () => marks.call(who.value.trim()) });
  return [
    h("button", { type: "button", "data-key": "ask", title: `${title}; mark each with 1 (good) or 0 (bad)`, click: () => row.ask(sample ? `sample ${sample}` : "kept") }, "Mark rows"),
    all.length ? h("span", { class: "quiet" }, `${good} good, ${all.length - good} bad`) : null,
    all.length && !config.marks ? who : null,
    all.length && !config.marks ? h("button", { type: "button", "data-key": "save-marks", click: () => download("marks.json", marks.toJson()) }, "Save marks") : null,
  ];
}

/** @type {number} */
let addressTimer = 0;
/**
 * The address follows a little later: browsers refuse many changes at once.
 * @param {State} state
 * @param {State} opened
 */
function keepAddress(state, opened) {
  clearTimeout(addressTimer);
  addressTimer = setTimeout(() => {
    const hash = toHash(state, opened);
    try {
      if (hash !== location.hash) history.replaceState(null, "", hash || location.pathname + location.search);
    } catch { /* a page inside a notebook has no address */ }
  }, 200);
}

start().catch((error) => {
  console.error(error);
  renew(root, [h("p", { class: "problem", role: "alert" }, `This page cannot be shown: ${error instanceof Error ? error.message : error}`)]);
});
