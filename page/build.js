// Builds the page into the package: `npm ci && npm run build`. One bundle serves all three doors.
import { build } from "esbuild";
import { readFileSync, writeFileSync, mkdirSync } from "node:fs";

const out = new URL("../sds_hf/explore/bundle/", import.meta.url), source = new URL("src/", import.meta.url);
const path = (name) => new URL(name, out).pathname;
mkdirSync(out, { recursive: true });
await build({
  entryPoints: [new URL("main.js", source).pathname], outfile: path("page.js"), bundle: true, format: "esm", minify: true,
  target: "es2022", charset: "ascii", legalComments: "none", define: {},
  banner: { js: "// sds-hf (Apache-2.0); contains hyparquet (MIT, Hyperparam and contributors). Sources and build: page/ in the repository." },
});
await build({ entryPoints: [new URL("page.css", source).pathname], outfile: path("page.css"), minify: true });
writeFileSync(path("index.html"), readFileSync(new URL("index.html", source)));
