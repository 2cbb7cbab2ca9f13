"""The mutation tests' own tools: every mutant in one shard, none excused without a reason."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .__main__ import report
from .judging import Mutant, Survivors, mutants_of
from .sharding import (
    CORE,
    DIGITS,
    LEFT_OUT,
    NOT_MEASURED,
    ROOT,
    SHARD_LINES,
    modules,
    shards,
    whose_turn,
)

SOURCE = """
def x_f__mutmut_orig(a):
    if a < 1:
        return a

def x_f__mutmut_1(a):
    if a <= 1:
        return a

def x_f__mutmut_2(a):
    if a < 2:
        return a
"""


def mutant(change: tuple[str, ...] = ("- a < 1", "+ a <= 1"), code: int = 0) -> Mutant:
    return Mutant("names", "f", "django_update_pipeline.core.names.x_f__mutmut_1", code, change)


def explained(**entry: str) -> Survivors:
    return Survivors([{"reason": "a reason that is long enough", **entry}])


def test_every_mutant_of_the_core_is_in_exactly_one_shard() -> None:
    named = {path.stem for path in (ROOT / CORE).glob("*.py")} - LEFT_OUT - set(NOT_MEASURED)
    assert {module for shard in shards() for module in shard.modules} == named
    for module in named:
        for number in range(1, 250):
            name = f"django_update_pipeline.core.{module}.x_f__mutmut_{number}"
            assert sum(shard.has(name) for shard in shards()) == 1, name


def test_the_page_says_of_each_module_what_was_measured_or_that_nothing_was() -> None:
    page = (ROOT / "docs/explanation/how-it-is-tested.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE))
    for name, reason in NOT_MEASURED.items():
        assert (ROOT / CORE / f"{name}.py").exists(), f"{name}: there is no such module"
        assert len(reason) > 15, f"a reason says why: {name}"
        assert rows.pop(name) == "not measured yet"
    assert set(rows) == set(modules())
    assert not {name for name, killed in rows.items() if not re.fullmatch(r"\d+\.\d %", killed)}


def test_every_digit_is_in_exactly_one_part_of_a_module() -> None:
    for parts in DIGITS.values():
        digits = "".join(parts).replace("[", "").replace("]", "")
        assert sorted(digits) in ([], list("0123456789"))


def test_a_shard_is_tested_by_the_tests_that_name_its_modules() -> None:
    for shard in shards():
        for module in shard.modules:
            own = f"unit/core/test_{module}.py"
            assert own in shard.tests() or not (ROOT / "tests" / own).exists()


def test_a_shard_is_tested_by_what_builds_on_a_scene_that_names_its_module_too() -> None:
    """Several files tell of a sync session without naming its module: they import the scene that does."""
    (chosen,) = {tuple(shard.tests()) for shard in shards() if "sync_session" in shard.modules}
    scenes = [
        file
        for file in (ROOT / "tests/unit/core").glob("test_*.py")
        if "sync_scene" in file.read_text("utf-8")
    ]
    assert len(scenes) > 5
    assert {f"unit/core/{file.name}" for file in scenes} <= set(chosen)


def test_no_shard_is_much_larger_than_the_others() -> None:
    for shard in shards():
        lines = sum(modules()[module] for module in shard.modules)
        parts = next((len(parts) for parts in DIGITS.values() if shard.digits in parts), 1)
        assert lines / parts <= SHARD_LINES, str(shard)


def test_whose_turn_it_is_depends_on_the_files_only() -> None:
    assert whose_turn() == whose_turn()
    assert 0 <= whose_turn() < len(shards())


def test_mutants_are_read_as_mutmut_left_them(tmp_path: Path) -> None:
    folder = tmp_path / "mutants/django_update_pipeline/core"
    folder.mkdir(parents=True)
    (folder / "names.py").write_text(SOURCE, encoding="utf-8")
    codes = {f"django_update_pipeline.core.names.x_f__mutmut_{n}": code for n, code in ((1, 0), (2, 1))}
    (folder / "names.py.meta").write_text(json.dumps({"exit_code_by_key": codes}), encoding="utf-8")
    alive, killed = mutants_of(tmp_path, "names")
    assert (alive.function, alive.is_killed, alive.change) == ("f", False, ("- if a < 1:", "+ if a <= 1:"))
    assert (killed.is_killed, killed.change) == (True, ())


@pytest.mark.parametrize(
    ("entry", "is_explained"),
    [
        ({"change": r"^\+ a <= 1$"}, True),
        ({"change": r"a < 1\n\+ a <= 1"}, True),
        ({"change": r"^\+ a <= 1$", "module": "names|wire", "function": "f"}, True),
        ({"change": r"^\+ a <= 1$", "module": "name"}, False),
        ({"change": r"^\+ a <= 1$", "function": "g"}, False),
        ({"change": r"a > 1"}, False),
        ({"function": "f", "module": "names"}, True),
    ],
)
def test_an_entry_explains_what_it_says_and_nothing_else(entry: dict[str, str], is_explained: bool) -> None:
    survivors = explained(**entry)
    assert bool(survivors.explain(mutant())) is is_explained
    assert bool(survivors.unused()) is not is_explained


def test_an_unexplained_survivor_fails_and_a_killed_one_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = Survivors([])
    assert report([mutant(code=1)] * 9, nothing, is_whole=True) == 0
    assert report([mutant(code=1), mutant()], nothing, is_whole=False) == 1
    assert report([mutant(code=33)], nothing, is_whole=False) == 1
    assert "1 mutants survived unexplained" in capsys.readouterr().err


def test_explained_survivors_pass_but_not_more_than_one_in_ten(capsys: pytest.CaptureFixture[str]) -> None:
    def survivors() -> Survivors:
        return explained(change="a <= 1")

    assert report([mutant()], survivors(), is_whole=False) == 0
    assert report([mutant(code=1)] * 9 + [mutant()], survivors(), is_whole=True) == 0
    assert report([mutant(code=1)] * 8 + [mutant()], survivors(), is_whole=True) == 1
    assert "88.9% killed, fewer than 90%" in capsys.readouterr().err


def test_an_explanation_of_nothing_fails_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([mutant(code=1)], explained(change="never"), is_whole=True) == 1
    assert report([mutant(code=1)], explained(change="never"), is_whole=False) == 0
    assert "explains nothing any more" in capsys.readouterr().err


def test_an_explanation_for_a_module_that_nobody_asked_for_fails_nothing() -> None:
    survivors = Survivors([{"reason": "long enough to be a reason", "module": "names", "change": "never"}])
    assert survivors.unused({"names"}) == []
    assert len(survivors.unused({"wire"})) == 1
    assert len(explained(change="never").unused({"names"})) == 1


def test_the_explanations_are_well_formed() -> None:
    Survivors.read(Path(__file__).with_name("survivors.toml"))


@pytest.mark.parametrize("text", ['change = "x"\nreason = "short"', 'reason = "long enough to be a reason"'])
def test_an_entry_without_a_reason_or_for_everything_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.toml").write_text(f"[[explained]]\n{text}\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        Survivors.read(tmp_path / "s.toml")
