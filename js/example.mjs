/** Builds the file that the example's React page imports, with its licence, into a folder. */

import { copyFileSync } from "node:fs";
import { build } from "esbuild";

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("name the folder: node example.mjs ../example_project/dating_show/static/dating_show/vendor");
await build({
  entryPoints: ["example/react.ts"],
  outfile: `${folder}/react.js`,
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  minify: true,
  legalComments: "inline",
  define: { "process.env.NODE_ENV": '"production"' },
  banner: { js: "// Built from js/example/react.ts by js/example.mjs; do not edit.\n" },
  logLevel: "warning",
});
copyFileSync("node_modules/react/LICENSE", `${folder}/react.LICENSE`);
