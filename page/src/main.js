// The page: reads what it was told, the table, and shows it.

import { openPictures } from "./data/pictures.js";
import { openParquet, readCells, readTable } from "./data/parquet.js";
import { choice, download, h, renew } from "./dom.js";
import { Session } from "./session.js";
import { START, Store, fromHash, toHash } from "./store.js";
import { Classes } from "./view/classes.js";
import { Gallery } from "./view/gallery.js";
import { Histograms } from "./view/histograms.js";
import { RecipePanel, summary } from "./view/recipe.js";
import { RowView } from "./view/row.js";

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
  const config = await readConfig(), base = document.baseURI;
  document.title = `${config.title} · sds-hf`;
  const { table, errors } = await readTable(config.tables.map((source) => absolute(source, base)), config.classNames, config.halves);
  const opened = { ...START, recipes: [structuredClone(config.recipes[0] ?? START.recipes[0])], tab: config.sections ? "matter" : "kept" };
  const store = new Store(fromHash(location.hash, opened)), pictures = await openPictures(config.pictures, base);
  const session = new Session(config, table, errors, pictures, store);
  if (!pictures?.references && ["reference", "difference"].includes(store.state.layer)) store.state.layer = "mask";
  session.marks.load().then(() => store.set({})).catch(() => {});
  show(session, opened);
  if (config.pixels) readPixels(session, absolute(config.pixels, base)).then(() => store.set({})).catch(() => {});
}

/**
 * @param {Session} session
 * @param {State} opened what the address leaves out
 */
function show(session, opened) {
  const { store, config } = session;
  const recipes = [new RecipePanel(session, 0), new RecipePanel(session, 1)], histograms = new Histograms(session), classes = new Classes(session);
  const gallery = new Gallery(session), row = new RowView(session, () => gallery.rows), head = h("div", { class: "count", role: "status" });
  const marks = h("div", { class: "marks" });
  renew(root, [
    h("header", {}, h("h1", {}, config.title), head,
      marks, choice({ label: "Theme", key: "theme", hide: true, value: store.state.theme, options: [["auto", "theme: as the system"], ["light", "light"], ["dark", "dark"]], change: (theme) => store.set({ theme: /** @type {State["theme"]} */ (theme) }) })),
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
    histograms.update();
    classes.update();
    recipes.forEach((panel) => panel.update());
    gallery.update(state, before);
    if (before && before.open === null && state.open !== null) opener = /** @type {HTMLElement | null} */ (document.activeElement);
    const shut = before && state.open === null ? before.open : null;
    row.update();
    if (shut !== null) (/** @type {HTMLElement | null} */ (root.querySelector(`[data-key="${CSS.escape(`row-${shut}`)}"]`)) ?? opener)?.focus();
    if ((state.filter.text || state.open !== null) && config.captions) readCaptions(session);
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

/** @param {Session} session */
async function readCaptions(session) {
  const { config, table, store } = session;
  if (session.captions || !config.captions) return;
  session.captions = new Array(table.length).fill(null);
  const files = await Promise.all(config.captions.sources.map((source) => openParquet(absolute(source, document.baseURI))));
  const { key } = config.captions, cells = await readCells(files, [key, "caption"]);
  const captions = new Array(table.length).fill(null);
  cells[key].forEach((name, line) => {
    const row = key === "row" ? Number(name) : table.rowOf(String(name));
    if (row >= 0) captions[row] = cells.caption[line];
  });
  session.captions = captions;
  store.set({});
}

/**
 * @param {Session} session
 * @param {import("./data/parquet.js").Source} source
 */
async function readPixels(session, source) {
  const cells = await readCells([await openParquet(source)], ["row", "classes", "pixels"]), { length } = session.table;
  const lines = new Map(cells.row.map((row, line) => [Number(row), line])), offsets = new Int32Array(length + 1);
  /** @type {{classes: number[], pixels: number[]}} */
  const flat = { classes: [], pixels: [] };
  for (let row = 0; row < length; row++) {
    const line = lines.get(row);
    if (line !== undefined) {
      for (const id of cells.classes[line] ?? []) flat.classes.push(Number(id));
      for (const count of cells.pixels[line] ?? []) flat.pixels.push(Number(count));
    }
    offsets[row + 1] = flat.classes.length;
  }
  session.pixels = { offsets, classes: Int32Array.from(flat.classes), pixels: Float64Array.from(flat.pixels) };
}

/**
 * @param {import("./data/parquet.js").Source} source
 * @param {string} base
 */
function absolute(source, base) {
  return "url" in source ? { url: new URL(source.url, base).href } : source;
}

start().catch((error) => {
  console.error(error);
  renew(root, [h("p", { class: "problem", role: "alert" }, `This page cannot be shown: ${error instanceof Error ? error.message : error}`)]);
});
