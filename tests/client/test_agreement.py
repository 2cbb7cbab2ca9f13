"""What the client and the Python package say in common is the same."""

from __future__ import annotations

import json
import re

import django_update_pipeline
from django_update_pipeline.core.codes import CLOSE_CODES
from django_update_pipeline.core.session import SYSTEM_CHANNEL
from django_update_pipeline.core.sync_wire import SUBPROTOCOL
from django_update_pipeline.core.view import valid_field_name
from django_update_pipeline.core.wire import FrameLimits

from .conftest import JS, Node


def source(name: str) -> str:
    return (JS / "src" / name).read_text(encoding="utf-8")


def constant(name: str, file: str) -> str:
    found = re.search(rf"\b{name} = (.+);", source(file))
    assert found, name
    return found[1]


def test_the_client_knows_each_close_code_and_whether_to_come_back() -> None:
    rows = re.findall(r"\[(\d+), \{ name: \"(\w+)\", reconnect: (\w+) }]", source("close-codes.ts"))
    assert rows == [(str(one.code), one.name, str(one.reconnect).lower()) for one in CLOSE_CODES]


def test_the_names_of_the_protocol_are_the_servers() -> None:
    assert json.loads(constant("SUBPROTOCOL", "transport.ts")) == SUBPROTOCOL
    assert json.loads(constant("SYSTEM_CHANNEL", "notices.ts")) == SYSTEM_CHANNEL
    assert int(constant("PER_FRAME", "client.ts")) < FrameLimits().max_channels_per_frame


def test_the_npm_package_is_of_this_version_name_and_licence() -> None:
    package = json.loads((JS / "package.json").read_text(encoding="utf-8"))
    lock = json.loads((JS / "package-lock.json").read_text(encoding="utf-8"))
    for one in (package, lock["packages"][""]):
        assert one["name"] == "django-update-pipeline"
        assert one["version"] == django_update_pipeline.__version__
        assert one["license"] == "MIT"
    assert package.get("dependencies", {}) == {}
    assert set(package["peerDependencies"]) == {"react"}


def test_the_lock_file_pins_what_is_installed_and_names_no_registry() -> None:
    text = (JS / "package-lock.json").read_text(encoding="utf-8")
    packages = json.loads(text)["packages"]
    assert all("integrity" in entry for path, entry in packages.items() if path)
    assert not any("resolved" in entry for entry in packages.values())
    assert "registry" not in text
    asked = json.loads((JS / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    assert all(re.fullmatch(r"[\d.]+", version) for version in asked.values()), "exact versions"


#: Names that a projection may have and may not, each rule at its edge.
NAMES = [
    *("mood", "a b", "é", "toString", "__proto", "a.b", "a:b", '"', "\u2028", "\U0001f980" * 100),
    *("", "a,b", ",", "x" * 100, "x" * 101, "\U0001f980" * 101, "a\nb", "\x00", "\x7f", "\x9f", "\xa0"),
    *("__proto__", "constructor", "prototype", "\ud800", "a\udfffb"),
]


def test_what_a_projection_may_name_is_the_servers_rule(node: Node) -> None:
    script = """
        const { isFieldName } = await import(process.cwd() + "/dist/frames.js");
        const names = JSON.parse(require("node:fs").readFileSync(0, "utf-8"));
        console.log(JSON.stringify(names.map(isFieldName)));
    """
    wrapped = f"(async () => {{ {script} }})();"
    told = json.loads(node("--input-type=commonjs", "-e", wrapped, text=json.dumps(NAMES)))
    assert told == [valid_field_name(name) for name in NAMES]
    assert True in told
    assert False in told
