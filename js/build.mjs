/**
 * Builds `dist/` (the npm package's modules, one for each source) and, with a folder as argument, the Django app's
 * static files into that folder. The type declarations are made by `tsc`.
 *
 * `react.js` of the static files has the hooks alone: it imports `react` and `django-update-pipeline` by these names, so
 * that a page's import map decides which React they use, and no page has two clients.
 */

import { readdirSync } from "node:fs";
import { build } from "esbuild";

const shared = { target: "es2022", charset: "utf8", legalComments: "none", logLevel: "warning" };
const [folder] = process.argv.slice(2);

if (folder === undefined) {
  const sources = readdirSync("src").map((name) => `src/${name}`);
  await build({ ...shared, entryPoints: sources, outdir: "dist", format: "esm", sourcemap: true });
} else {
  const banner = { js: "// Built from js/src by js/build.mjs; do not edit. The sources have the comments.\n" };
  const bundled = { ...shared, banner, entryPoints: ["src/index.ts"], bundle: true };
  await build({ ...bundled, outfile: `${folder}/client.js`, format: "esm" });
  await build({ ...bundled, outfile: `${folder}/client.iife.js`, format: "iife", globalName: "UpdatePipeline" });
  const byName = {
    name: "by name",
    setup(one) {
      one.onResolve({ filter: /^react$/ }, () => ({ path: "react", external: true }));
      one.onResolve({ filter: /^\.\/index\.js$/ }, () => ({ path: "django-update-pipeline", external: true }));
    },
  };
  const hooks = { ...bundled, entryPoints: ["src/react.ts"], plugins: [byName] };
  await build({ ...hooks, outfile: `${folder}/react.js`, format: "esm" });
}
