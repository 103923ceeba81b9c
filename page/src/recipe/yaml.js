// A recipe as YAML, which `sds-hf select --recipe` reads, and the command that runs it.

/** @typedef {import("../rules/select.js").Rule} Rule */

const PLAIN = /^[A-Za-z_][\w.-]*( [\w.-]+)*$/;
const WORDS = /^(true|false|null|yes|no|on|off|y|n|nan|inf|~)$/i;

/** @param {unknown} value */
function scalar(value) {
  if (typeof value === "number") {
    if (Number.isFinite(value)) return /e/.test(String(value)) ? String(value).replace(/^(-?\d+)e/, "$1.0e") : String(value);
    return Number.isNaN(value) ? ".nan" : value > 0 ? ".inf" : "-.inf";
  }
  if (typeof value !== "string") return JSON.stringify(value);
  return PLAIN.test(value) && !WORDS.test(value) ? value : quoted(value);
}

/** @param {string} text */
function quoted(text) {
  return JSON.stringify(text).replace(/[\x7f-\x9f\u2028\u2029\ufeff]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/**
 * @param {string} name
 * @param {Rule[]} rules
 */
export function toYaml(name, rules) {
  const lines = [`name: ${scalar(name)}`, rules.length ? "rules:" : "rules: []"];
  for (const rule of rules) {
    for (const [kind, settings] of Object.entries(rule)) {
      lines.push(`- ${kind}:`);
      for (const [key, value] of Object.entries(settings)) {
        if (value === null || value === undefined) continue;
        lines.push(`    ${key}: ${Array.isArray(value) ? `[${value.map(scalar).join(", ")}]` : scalar(value)}`);
      }
    }
  }
  return `${lines.join("\n")}\n`;
}

/**
 * A word of a command, quoted for a shell if need be.
 * @param {string} word
 */
export function shellWord(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

/**
 * @param {string} scores where the table lies
 * @param {string} recipe name of the saved file
 */
export function commandOf(scores, recipe) {
  return `sds-hf select ${shellWord(scores)} --recipe ${shellWord(recipe)} --out selection`;
}
