/**
 * Builds what the example's page on React imports, into a folder: React as one module with its licence, which changes
 * with the lock file, and this package's hooks, which change with `src`.
 */

import { copyFileSync } from "node:fs";
import { build } from "esbuild";

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("name the folder: node example.mjs ../example_project/dating_show/static/dating_show/vendor");
const shared = { bundle: true, format: "esm", target: "es2022", charset: "utf8", logLevel: "warning" };
await build({
  ...shared,
  entryPoints: ["example/react.ts"],
  outfile: `${folder}/react.js`,
  minify: true,
  legalComments: "inline",
  define: { "process.env.NODE_ENV": '"production"' },
  banner: { js: "// Built from js/example/react.ts by js/example.mjs; do not edit.\n" },
});
copyFileSync("node_modules/react/LICENSE", `${folder}/react.LICENSE`);
await build({
  ...shared,
  entryPoints: ["src/react.ts"],
  outfile: `${folder}/hooks.js`,
  legalComments: "none",
  banner: { js: "// Built from js/src by js/example.mjs; do not edit. The sources have the comments.\n" },
  plugins: [
    {
      name: "react beside it",
      setup: (one) => one.onResolve({ filter: /^react$/ }, () => ({ path: "./react.js", external: true })),
    },
  ],
});
