"""Rules of the whole suite.

- With ``CI=true`` nothing may skip: a missing tool is a failure there, elsewhere a skip that names the mend.
- Without Channels, modules that import it (or our rooms that need it) and tests marked ``channels`` are left
  out, not skipped. In CI that is allowed only where ``UPDATE_PIPELINE_WITHOUT_CHANNELS=1`` says it is meant.
- Tests marked ``long`` are left out, not skipped, unless ``UPDATE_PIPELINE_LONG=1``.
- So are modules that import a tool which is not installed and not to be had everywhere (``RARE_TOOLS``).
- So are modules that import the Prometheus extra where it is not installed; in CI that is allowed where Channels is
  missing on purpose, too.
- ``UPDATE_PIPELINE_WITHOUT_BROWSER=1`` leaves out the modules that drive a browser; ``tox -e e2e`` runs them.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
HAS_CHANNELS = find_spec("channels") is not None
WITHOUT_CHANNELS_IS_MEANT = os.environ.get("UPDATE_PIPELINE_WITHOUT_CHANNELS") == "1"
LONG_IS_MEANT = os.environ.get("UPDATE_PIPELINE_LONG") == "1"
WITHOUT_BROWSER_IS_MEANT = os.environ.get("UPDATE_PIPELINE_WITHOUT_BROWSER") == "1"
NEEDS_CHANNELS = (
    "channels",
    "daphne",
    "django_update_pipeline.consumers",
    "django_update_pipeline.transports.channels",
)
NEEDS_PROMETHEUS = (
    "prometheus_client",
    "django_prometheus",
    "django_update_pipeline.metrics.exporter",
    "django_update_pipeline.metrics.multiprocess",
)
HAS_PROMETHEUS = find_spec("prometheus_client") is not None and find_spec("django_prometheus") is not None
# Tools that are not to be had for every system; the dependency groups say where they are.
RARE_TOOLS = tuple(name for name in ("atheris", "mutmut") if find_spec(name) is None)


def _imports_channels(path: Path) -> bool:
    """Whether the module imports, at its top level, something that needs Channels."""
    return _imports(path, NEEDS_CHANNELS)


def _imports(path: Path, needs: tuple[str, ...]) -> bool:
    """Whether the module imports, at its top level, one of these or something inside it."""
    names: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return any(name == need or name.startswith(f"{need}.") for name in names for need in needs)


def pytest_configure(config: pytest.Config) -> None:
    if IN_CI and not HAS_CHANNELS and not WITHOUT_CHANNELS_IS_MEANT:
        raise pytest.UsageError(
            "Channels is not installed: install the channels extra or set UPDATE_PIPELINE_WITHOUT_CHANNELS=1"
        )
    if IN_CI and not HAS_PROMETHEUS and not WITHOUT_CHANNELS_IS_MEANT:
        raise pytest.UsageError(
            "django-prometheus is not installed: install the prometheus extra or set UPDATE_PIPELINE_WITHOUT_CHANNELS=1"
        )


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if not collection_path.match("test_*.py"):
        return None
    if not HAS_CHANNELS and _imports_channels(collection_path):
        return True
    if not HAS_PROMETHEUS and _imports(collection_path, NEEDS_PROMETHEUS):
        return True
    if RARE_TOOLS and _imports(collection_path, RARE_TOOLS):
        return True
    if WITHOUT_BROWSER_IS_MEANT and "playwright" in collection_path.read_text(encoding="utf-8"):
        return True
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = ["channels"] * (not HAS_CHANNELS) + ["long"] * (not LONG_IS_MEANT)
    out = [item for item in items if any(map(item.get_closest_marker, left_out))]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def pytest_report_header() -> str | None:
    if HAS_CHANNELS:
        return None
    modules = sorted(path for path in Path(__file__).parent.rglob("test_*.py") if _imports_channels(path))
    names = ", ".join(path.name for path in modules) or "no module"
    return f"Channels is not installed; left out, beside tests marked 'channels': {names}"


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"With CI=true nothing may skip, but this did: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def _printable(value: Any) -> Any:
    """``value`` with lone surrogates escaped, at any depth."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_printable(item) for item in value)
    return value


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A failure that shows a lone surrogate would end the xdist worker instead of being reported."""
    return _printable((yield))


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The browser of the end-to-end tests: ``$CHROMIUM``, or the first found on the PATH."""
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        if name and (path := shutil.which(name)):
            return path
    pytest.skip(
        "no chromium on the PATH (Debian: apt-get install --no-install-recommends chromium; or set CHROMIUM)"
    )


if HAS_CHANNELS:

    @pytest.fixture(autouse=True)
    def _fresh_channel_layers() -> Iterator[None]:
        """Channels caches its layers; one made on an earlier test's loop must not meet the next test's."""
        yield
        from channels.layers import channel_layers

        channel_layers.backends.clear()
