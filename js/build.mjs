/**
 * Builds `dist/` (the npm package's modules, one for each source) and, with a folder as argument, the Django app's
 * static files into that folder. The type declarations are made by `tsc`.
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
}
