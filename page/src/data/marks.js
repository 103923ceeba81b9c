// Marks of a person: this row is good, that one bad. A server keeps them; else the browser does, until they are saved.

/** @typedef {{id: string, good: boolean, by: string, sampled: string, at: string}} Mark */

const KEY = "sds-hf marks";

export class Marks {
  /** @param {string | null} url */
  constructor(url) {
    this.url = url;
    /** @type {Map<string, Mark>} */
    this.byId = new Map();
    this.by = "";
  }

  async load() {
    const marks = this.url ? await (await fetch(this.url)).json() : JSON.parse(stored(KEY) ?? "[]");
    for (const mark of marks) this.byId.set(mark.id, mark);
  }

  /**
   * @param {string} id
   * @param {boolean | null} good null takes a mark back
   * @param {string} sampled how the row came to be looked at
   */
  async set(id, good, sampled) {
    const before = this.byId.get(id);
    const mark = good === null ? null : { id, good, by: this.by, sampled, at: new Date().toISOString() };
    if (mark) this.byId.set(id, mark);
    else this.byId.delete(id);
    try {
      await this._keep(mark ?? { id, good: null });
    } catch (error) {
      if (before) this.byId.set(id, before);
      else this.byId.delete(id);
      throw error;
    }
  }

  /** @param {object} change */
  async _keep(change) {
    if (!this.url) {
      try {
        localStorage.setItem(KEY, JSON.stringify([...this.byId.values()]));
      } catch { /* a file without an origin keeps nothing; marks can be saved as a file */ }
      return;
    }
    const response = await fetch(this.url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(change) });
    if (!response.ok) throw new Error(`the mark was not kept: ${await response.text()}`);
  }

  toJson() {
    return `${JSON.stringify([...this.byId.values()], null, 1)}\n`;
  }
}

/** @param {string} key */
function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
