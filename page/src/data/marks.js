// Marks of a person: this row is good, that one bad. A server keeps them; else the browser does, until they are saved.

/**
 * A line of the file of marks; one without a mark is a row of a sample that waits for it.
 * @typedef {{id: string, mark: boolean | null, who: string | null, when: string | null, sample?: string | null}} Mark
 */

const KEY = "sds-hf marks", NAME = "sds-hf name";

export class Marks {
  /** @param {string | null} url */
  constructor(url) {
    this.url = url;
    /** @type {Map<string, Mark>} */
    this.byId = new Map();
    /** Rows to mark, by the name of their sample. @type {Map<string, string[]>} */
    this.samples = new Map();
    this.who = stored(NAME) ?? "";
  }

  async load() {
    /** @type {Mark[]} */
    const marks = this.url ? await this._fetched(this.url) : JSON.parse(stored(KEY) ?? "[]");
    for (const mark of marks) {
      if (mark.mark !== null) this.byId.set(mark.id, mark);
      if (mark.sample) this.samples.get(mark.sample)?.push(mark.id) ?? this.samples.set(mark.sample, [mark.id]);
    }
  }

  /** @param {string} url */
  async _fetched(url) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  /**
   * @param {string} id
   * @param {boolean | null} mark null takes it back
   */
  async set(id, mark) {
    const before = this.byId.get(id);
    if (mark === null) this.byId.delete(id);
    else this.byId.set(id, { id, mark, who: this.who, when: new Date().toISOString() });
    try {
      await this._keep({ id, mark });
    } catch (error) {
      if (before) this.byId.set(id, before);
      else this.byId.delete(id);
      throw error;
    }
  }

  /** @param {object} change */
  async _keep(change) {
    if (!this.url) return keep(KEY, JSON.stringify([...this.byId.values()]));
    const response = await fetch(this.url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(change) });
    if (!response.ok) throw new Error(`the mark was not kept: ${await response.text()}`);
  }

  /** @param {string} who */
  call(who) {
    this.who = who;
    keep(NAME, who);
  }

  /** What `sds-hf certify --add` reads. */
  toJson() {
    return `${JSON.stringify([...this.byId.values()].map((mark) => ({ ...mark, who: this.who || "somebody" })), null, 1)}\n`;
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

/**
 * @param {string} key
 * @param {string} text
 */
function keep(key, text) {
  try {
    localStorage.setItem(key, text);
  } catch { /* a file without an origin keeps nothing; marks can be saved as a file */ }
}
