"""The tables, lists and pictures in the documents that are drawn from the code.

    python docs/tables.py --write     draw again what is out of date
    python docs/tables.py --check     only name it, and end with 1

A document holds such a part between `<!-- drawn: NAME -->` and `<!-- end -->`; tests/meta/test_docs_drawn.py holds
that what stands there is what the code says now. What is drawn depends on nothing but the files, so a conflict in a
drawn part is solved by drawing again.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import msgspec

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [folder for folder in (str(DOCS), str(ROOT)) if folder not in sys.path]

from drawing import asyncapi
from drawing import faults as known
from drawing import pages as site
from drawing.pictures import PICTURES

import django_update_pipeline
from django_update_pipeline import exceptions, hookspecs, testing
from django_update_pipeline.checks import catalogue
from django_update_pipeline.core.circuit_table import TABLE, BreakerEvent, CircuitState, Effect
from django_update_pipeline.core.codes import CLOSE_CODES, CODES
from django_update_pipeline.core.commands import COMMANDS, LIVE_EVENTS, Params
from django_update_pipeline.core.frame_types import PROTOCOLS, Protocol
from django_update_pipeline.core.health import DEDUCTIONS, UNREADY, HealthInput, PluginCheck
from django_update_pipeline.core.part_kinds import KINDS, PartKind
from django_update_pipeline.metrics.families import BUCKETS_S, FAMILIES, LABELS
from tests.servers import kinds as served

PART = re.compile(r"(<!-- drawn: (?P<name>[a-z_]+) -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)

#: Everything wrong at once: what each row of the deductions has to say.
WORST = HealthInput(
    is_started=False,
    breaker_state="open",
    breaker_failure_count=5,
    breaker_retry_after_s=12.0,
    success_ratio=0.9,
    p99_latency_ms={"critical": 80.0, "high": 80.0, "normal": 150.0, "low": 700.0},
    queue_fill_ratio=0.9,
    dead_letter_count=3,
    oldest_wait_s=4.0,
    loop_stall_s=2.0,
    loop_stall_where="transform of plugin mysite.plugins: mysite/plugins.py:12 in Radio.transform",
    account_difference=1,
    stuck_count=2,
    applied_p95_ms={"critical": 1200.0, "low": 3400.0},
    divergence_count=2,
    parts_blocking=(
        "transformer Prices of plugin shop_live has held the event loop for 4.2 s: make it quicker, asynchronous, or "
        "move its work to a thread.",
    ),
    parts_off=(
        "transformer Prices of plugin shop_live is switched off, because it failed 10 times in a row, last with "
        "KeyError: 'price'; every update it would see waits, state conflated; nothing is sent past it. Mend it, then "
        "restart or switch it on: enable_plugin shop_live.",
    ),
    parts_failing=(
        "source Orders of plugin shop_live fails (3 time(s) in a row): OperationalError: no such table: orders. Mend "
        "it; the log at DEBUG has the traceback.",
    ),
    refused_count=12,
    refused_limits=("max_connections",),
    transport_problem="channel layer 'default': ConnectionError: connection refused",
    control_problem="/run/user/1000 is full",
    plugin_checks=(PluginCheck("radio", False, "the antenna is down: put it up."),),
)


#: Every Django command has these.
DJANGOS_OPTIONS = frozenset(
    {
        "--help",
        "--version",
        "--verbosity",
        "--settings",
        "--pythonpath",
        "--traceback",
        "--no-color",
        "--force-color",
        "--skip-checks",
    }
)

DRAWN: dict[str, Callable[[], str]] = {}


def draws(draw: Callable[[], str]) -> Callable[[], str]:
    """Registers a function under its name."""
    DRAWN[draw.__name__] = draw
    return draw


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


def _table(head: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    return _row(*head) + "|" + "---|" * len(head) + "\n" + "".join(_row(*row) for row in rows)


@draws
def breaker() -> str:
    """State x event -> state, effect."""

    def cell(state: CircuitState, event: BreakerEvent) -> str:
        transition = TABLE[state, event]
        if transition.effect is Effect.IMPOSSIBLE:
            return "cannot happen"
        text = transition.effect.value
        return text if transition.after is state else f"**{transition.after.value}**: {text}"

    def rows() -> Iterator[tuple[object, ...]]:
        for event in BreakerEvent:
            yield (event.value, *(cell(state, event) for state in CircuitState))

    return _table(("what happens", *(state.value for state in CircuitState)), rows())


@draws
def error_codes() -> str:
    """The codes of `error` frames."""
    return _table(("code", "meaning"), ((f"`{code}`", meaning) for code, meaning in CODES.items()))


@draws
def close_codes() -> str:
    """The close codes."""
    rows = ((c.code, f"`{c.name}`", c.reason, "yes" if c.reconnect else "no") for c in CLOSE_CODES)
    return _table(("code", "name", "reason", "come back?"), rows)


@draws
def admin_commands() -> str:
    """The operators' commands: parameters with their defaults, answers, and which change anything."""

    def parameters(params: type[Params]) -> str:
        fields = msgspec.structs.fields(params)
        return ", ".join(f"`{f.name}`" if f.required else f"`{f.name}={f.default!r}`" for f in fields)

    return _table(
        ("command", "answered by", "params", "permission", "meaning"),
        (
            (
                f"`{name}`",
                f"`{c.reply}`",
                parameters(c.params),
                "operate" if c.needs_operator else "view",
                c.meaning,
            )
            for name, c in COMMANDS.items()
        ),
    )


@draws
def checks() -> str:
    """The ids of the system checks."""
    return _table(("id", "meaning", "looked for"), ((f"`{i}`", text, when) for i, text, when in catalogue()))


@draws
def management_commands() -> str:
    """Every management command: what it does, and its options, from its own parser."""
    from importlib import import_module
    from pkgutil import iter_modules

    from django_update_pipeline.management import commands

    parts = []
    for name in sorted(module.name for module in iter_modules(commands.__path__)):
        command = import_module(f"{commands.__name__}.{name}").Command(no_color=True)
        parser = command.create_parser("manage.py", name)
        text = " ".join(f"{parser.description} {_sentence(parser.epilog)}".split())
        parts.append(f"## {name}\n\n{text}\n\n{_options(parser)}")
    return "\n" + "\n".join(parts) + "\n"


def _sentence(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


def _options(parser: argparse.ArgumentParser, before: str = "") -> str:
    """A table of a parser's own options, Django's left out, then those of its subcommands."""
    rows, rest = [], ""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            about = {choice.dest: choice.help for choice in action._choices_actions}
            for name, child in action.choices.items():
                rest += f"`{before}{name}`: {about[name]}.\n\n{_options(child, f'{before}{name} ')}\n"
        elif action.help != argparse.SUPPRESS and not set(action.option_strings) & DJANGOS_OPTIONS:
            value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
            names = ", ".join(action.option_strings) or (action.metavar or action.dest)
            label = f"{names}{value if action.option_strings else ''}"
            text = (action.help or "").replace("%(default)s", str(action.default))
            rows.append((f"`{label}`", text))
    return (
        (_table(("option", "meaning"), iter(rows)) if rows else "")
        + rest.rstrip("\n")
        + ("\n" if rest else "")
    )


@draws
def live_events() -> str:
    """What `watch` has sent when it happens."""
    return _table(("type", "when"), ((f"`{kind}`", meaning) for kind, meaning in LIVE_EVENTS.items()))


@draws
def deductions() -> str:
    """What costs how many points, each with an example of its sentence."""

    def example(find: Callable[[HealthInput], tuple[str, ...]], name: str) -> str:
        health = WORST
        if name == "breaker_half_open":
            health = HealthInput(breaker_state="half_open")
        return find(health)[0]

    return _table(
        ("name", "points", "what it says, for example"),
        ((f"`{row.name}`", row.points, example(row.find, row.name)) for row in DEDUCTIONS),
    )


@draws
def unready() -> str:
    """Why a process is not ready."""
    return _table(("reason", "meaning"), ((f"`{reason}`", meaning) for reason, meaning in UNREADY.items()))


@draws
def part_kinds() -> str:
    """What it means that a part is off, by kind."""

    def cause(kind: PartKind) -> str:
        causes = {"failing": kind.by_failures, "blocking the loop": kind.by_blocking}
        return " or ".join(name for name, switches in causes.items() if switches) or "nothing"

    rows = ((kind.name, cause(kind), kind.off_means) for kind in KINDS.values())
    return _table(("part", "is switched off by", "while it is off"), rows)


@draws
def prometheus() -> str:
    """Every metric for Prometheus, then each label's values."""
    merges = {"livesum": "added", "livemax": "the largest", "livemin": "the least"}

    def rows() -> Iterator[tuple[object, ...]]:
        for family in FAMILIES.values():
            labels = ", ".join(f"`{label}`" for label in family.labels)
            yield f"`{family.name}`", family.kind, labels, family.help, merges[family.merge]

    values = ((f"`{label}`", ", ".join(f"`{value}`" for value in values)) for label, values in LABELS.items())
    buckets = ", ".join(f"{bound:g}" for bound in BUCKETS_S)
    return (
        _table(("metric", "kind", "labels", "meaning", "several processes"), rows())
        + f"\nThe histogram's buckets end at {buckets} s. They are made of buckets that are 4 % wide, so what is "
        + "within 2 % of a bound may be on either side of it.\n\n"
        + _table(("label", "values"), values)
    )


@draws
def errors() -> str:
    """The error tree with each class's first line."""
    found = {
        name: kind
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type) and issubclass(kind, exceptions.UpdatePipelineError)
    }

    def rows() -> Iterator[tuple[object, ...]]:
        for name, kind in found.items():
            bases = [base.__name__ for base in kind.__bases__]
            yield f"`{name}`", ", ".join(f"`{base}`" for base in bases), (kind.__doc__ or "").splitlines()[0]

    return _table(("error", "is a", "meaning"), rows())


#: What has no docstring of its own.
_PLAIN = {
    "UNSET": "In the data of a `state_patch`: removes the field.",
    "hookimpl": "Marks a function of a plugin as the implementation of the [hook](hooks.md) of its name.",
}


@draws
def api() -> str:
    """What may be imported, with the first sentence of its docstring."""

    def rows(module: ModuleType) -> Iterator[tuple[object, ...]]:
        for name in module.__all__:
            text = _PLAIN.get(name) or inspect.getdoc(getattr(module, name)) or ""
            yield f"`{name}`", text.split("\n\n")[0].replace("\n", " ")

    modules = (django_update_pipeline, testing)
    return "\n" + "\n".join(
        f"From `{module.__name__}`:\n\n" + _table(("name", "what it is"), rows(module)) for module in modules
    )


@draws
def pages() -> str:
    """The map of all pages, by section."""

    def link(name: str) -> str:
        title = site.title(name)
        decision = re.fullmatch(r"(\d+)\. (.+)", title)
        return f"- [{title if decision is None else f'{decision[2]} ({decision[1]})'}]({name}.md)\n"

    parts = (f"**{title}**\n\n" + "".join(map(link, names)) for title, names in site.sections())
    return "\n" + "\n".join(parts) + "\n"


@draws
def faults() -> str:
    """The faults that tests inject, with what each test holds; then those that no test injects yet."""
    held = known.held()
    parts, untested = [], []
    for group, names in known.FAULTS.items():

        def rows(names: dict[str, str] = names) -> Iterator[tuple[object, ...]]:
            for fault, name in names.items():
                title = f"**{fault}** {name}"
                for one in (one for one in held if one.fault == fault):
                    path, _, test = one.test.partition("::")
                    yield title, one.promise, f"`{path}`" + (f"<br>`{test}`" if test else "")
                    title = ""

        if lines := list(rows()):
            parts.append(f"## {group}\n\n" + _table(("fault", "what is held", "test"), iter(lines)))
        tested = {one.fault for one in held}
        untested += [f"- **{fault}** {name}\n" for fault, name in names.items() if fault not in tested]
    title = f"## Without a test ({len(untested)})\n\n"
    return "\n" + "\n".join([*parts, title + "".join(untested)]) + "\n"


@draws
def hooks() -> str:
    """Every hook: its signature, which answers count, and its docstring."""
    parts = []
    for name, function in vars(hookspecs).items():
        options = getattr(function, f"{hookspecs.PROJECT}_spec", None)
        if options is None:
            continue
        arguments = ", ".join(inspect.signature(function).parameters)
        answers = "the first answer that is not None" if options["firstresult"] else "every plugin's answer"
        if name.startswith("observe_"):
            answers = "none: it is a notice"
        text = inspect.cleandoc(function.__doc__ or "")
        parts.append(f"### {name}({arguments})\n\nWhat counts: {answers}.\n\n{text}\n")
    return "\n" + "\n".join(parts) + "\n"


@draws
def servers() -> str:
    """What is the same and what differs on the servers that the tests run on."""

    def rows() -> Iterator[tuple[object, ...]]:
        for kind in served.KINDS:
            yield (
                kind.name,
                f"`{kind.start_line}`",
                "lifespan" if kind.has_lifespan else "first request or socket",
                "seen: `send()` waits" if kind.send_waits else "not seen",
                "found by pings" if kind.pings else "found when a write fails",
                " or ".join(map(str, kind.codes_at_end)),
                kind.limits,
            )

    head = (
        "server",
        "start it with",
        "the pipeline starts with",
        "slow clients",
        "dead ones",
        "code at SIGTERM",
        "set",
    )
    return _table(head, rows())


@draws
def frames() -> str:
    """Every kind of frame of every protocol, with what it answers."""
    parts = []
    for protocol in PROTOCOLS:

        def rows(protocol: Protocol = protocol) -> Iterator[tuple[object, ...]]:
            for kind, shape in protocol.taken.items():
                answers = ", ".join(f"`{answer}`" for answer in protocol.answers[kind])
                yield f"`{kind}`", "client", _first_sentence(shape), answers
            for kind, shape in protocol.sent.items():
                asked_for = {answer for answers in protocol.answers.values() for answer in answers}
                when = [
                    word
                    for word, kinds in (("answers", asked_for), ("by itself", protocol.unasked))
                    if kind in kinds
                ]
                yield f"`{kind}`", "server", _first_sentence(shape), ", ".join(when)

        head = ("frame", "sent by", "what it is", "answered by, or when")
        parts.append(f"### {protocol.title}\n\nThe channel `{protocol.name}`.\n\n" + _table(head, rows()))
    return "\n" + "\n".join(parts) + "\n"


def _first_sentence(shape: type) -> str:
    text = " ".join((inspect.getdoc(shape) or "").split())
    return re.split(r"(?<=[.]) (?=[A-Z`])", text)[0]


#: Files that are made as a whole, by their paths below docs/.
FILES: dict[str, Callable[[], str]] = {
    **{f"images/{name}.svg": draw for name, draw in PICTURES.items()},
    asyncapi.PATH: asyncapi.text,
}


def drawn(text: str) -> str:
    """A document with its drawn parts as the code has them now."""
    return PART.sub(lambda found: found[1] + DRAWN[found["name"]]() + found[4], text)


def main() -> None:
    """Rewrites the documents that are out of date, or names them."""
    stale = []
    for name, draw in FILES.items():
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != draw():
            stale.append(str(path.relative_to(ROOT)))
            if "--write" in sys.argv:
                path.write_text(draw(), encoding="utf-8")
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        before = path.read_text(encoding="utf-8")
        after = drawn(before)
        if before != after:
            stale.append(str(path.relative_to(ROOT)))
            if "--write" in sys.argv:
                path.write_text(after, encoding="utf-8")
    sys.stdout.write(("\n".join(stale) or "up to date") + "\n")
    sys.exit(1 if stale and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
