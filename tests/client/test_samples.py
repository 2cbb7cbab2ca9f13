"""The TypeScript samples of the documents pass the compiler, against the declarations that the npm package ships."""

from __future__ import annotations

from pathlib import Path

from tests.docs.markdown import PAGES, ROOT, blocks

from .conftest import Node

SAMPLES = [block for page in PAGES for language in ("ts", "tsx") for block in blocks(page, language)]

CONFIG = """{
  "extends": "../tsconfig.json",
  "compilerOptions": {
    "jsx": "react-jsx", "noEmit": true, "emitDeclarationOnly": false, "declaration": false,
    "rootDir": "..", "outDir": "out",
    "noUnusedLocals": false
  },
  "include": ["*.ts", "*.tsx"]
}
"""


def test_there_are_samples() -> None:
    assert {block.page.name for block in SAMPLES} >= {"client-js.md", "use-react.md"}


def test_the_samples_pass_the_compiler(client_folder: Path, node: Node) -> None:
    folder = client_folder / "samples"
    folder.mkdir(exist_ok=True)
    (folder / "tsconfig.json").write_text(CONFIG)
    for block in SAMPLES:
        name = str(block.page.relative_to(ROOT).with_suffix("")).replace("/", "-")
        (folder / f"{name}-{block.line}.{block.language}").write_text(f"{block.code}\nexport {{}};\n")
    node("node_modules/typescript/bin/tsc", "-p", "tsconfig.json")
    node("node_modules/typescript/bin/tsc", "-p", "samples/tsconfig.json")
