"""The typed facade over pluggy: loads plugins, keeps their order, isolates their failures.

Only this module and `hookspecs` know pluggy. Hooks are resolved here, once; what the pipeline gets are objects and
tuples of plain callables.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

import pluggy

from .. import hookspecs
from ..core.config import PipelineConfig
from ..exceptions import ConfigurationError, PluginError
from ..runtime.parts import Observers

logger = logging.getLogger(__name__)

BUILT_IN = "django_update_pipeline.plugins.defaults"

#: What the part that a hook returns must have.
PARTS = {
    "provide_sources": ("start", "stop"),
    "provide_transformers": ("transform",),
    "provide_transport": ("name", "start", "stop", "publish"),
    "provide_batching_policy": (
        "max_batch_size",
        "batch_timeout_ms",
        "windows_s",
        "due_at",
        "limit",
        "flushed",
        "measured",
    ),
    "provide_circuit_breaker": (
        "can_execute",
        "record_success",
        "record_failure",
        "release",
        "retry_after_s",
        "get_state",
    ),
    "provide_retry_policy": ("delay_s",),
    "provide_router": ("route",),
    "provide_health_checks": ("name", "check"),
}


class Plugins:
    """One pipeline's plugins, in order: those of the settings, then entry points, then the built-ins.

    Earlier ones are asked first, so a deployment's own parts go before ours.
    """

    def __init__(
        self, names: Iterable[str] = (), *, entry_points: bool = True, extra: Iterable[object] = ()
    ) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.failures: dict[str, int] = {}
        plugins: list[tuple[str, object]] = []
        for plugin in extra:  # several may be of one class
            name = _name_of(plugin)
            same = sum(other.partition("#")[0] == name for other, _ in plugins)
            plugins.append((f"{name}#{same + 1}" if same else name, plugin))
        plugins += [(name, load(name)) for name in names]
        # pluggy asks the last registered first: so the built-ins are registered first, the settings' last.
        self._register(BUILT_IN, load(BUILT_IN))
        if entry_points:
            try:
                self.manager.load_setuptools_entrypoints(hookspecs.PROJECT)
            except Exception as error:  # somebody's broken distribution, named by its cause
                raise PluginError(
                    f"a plugin of the entry-point group {hookspecs.PROJECT!r} can't be loaded: {error!r}; "
                    'uninstall it, or set "ENTRY_POINTS": False and name plugins in PLUGINS',
                    path="plugins",
                ) from error
        for name, plugin in reversed(plugins):
            self._register(name, plugin)
        try:
            self.manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(
                f"a plugin implements a hook that does not exist: {error}; hooks are listed in "
                "django_update_pipeline.hookspecs",
                path="plugins",
            ) from error

    def _register(self, name: str, plugin: object) -> None:
        if self.manager.is_registered(plugin):
            return
        try:
            self.manager.register(plugin, name=name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {name!r} can't be registered: {error}", path="plugins") from error

    def names(self) -> list[str]:
        """The plugins in the order in which they are asked."""
        return [name for name, plugin in reversed(self.manager.list_name_plugin()) if plugin is not None]

    def implementers(self, hook: str) -> list[str]:
        """The plugins that implement a hook, in the order in which they are asked."""
        return [one.plugin_name for one in reversed(getattr(self.manager.hook, hook).get_hookimpls())]

    def first(self, hook: str, config: PipelineConfig) -> Any:
        """The first part that a plugin provides, or None."""
        part = self._call(hook, config)
        if part is not None:
            _check_part(hook, part)
        return part

    def all(self, hook: str, config: PipelineConfig) -> list[Any]:
        """All parts that plugins provide, in the order in which they are asked."""
        parts: list[Any] = []
        for result in self._call(hook, config) or ():
            if result is not None and not isinstance(result, (list, tuple)):
                raise PluginError(f"{hook} returned {result!r:.120}: return a list of parts", path="plugins")
            parts += [part for part in result or () if part is not None]
        for part in parts:
            _check_part(hook, part)
        return parts

    def _call(self, hook: str, config: PipelineConfig) -> Any:
        try:
            return getattr(self.manager.hook, hook)(config=config)
        except ConfigurationError:  # it says itself what is wrong, and where
            raise
        except Exception as error:
            raise PluginError(f"{hook} failed: {type(error).__name__}: {error}", path="plugins") from error

    def questions(self, hook: str) -> tuple[Callable[..., Any], ...]:
        """A decision hook's implementations as plain callables taking all its arguments by name."""
        found = []
        for implementation in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
            found.append(_by_name(implementation.function, implementation.argnames))
        return tuple(found)

    def observers(self) -> Observers:
        """The notices, each implementation isolated."""
        observers = Observers()
        for notice in vars(observers):
            hook = f"observe_{notice}"
            told = []
            for implementation in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
                call = _by_name(implementation.function, implementation.argnames)
                told.append(functools.partial(self._isolated, implementation.plugin_name, hook, call))
            setattr(observers, notice, tuple(told))
        return observers

    def _isolated(self, plugin: str, hook: str, call: Callable[..., Any], **values: Any) -> None:
        try:
            call(**values)
        except KeyboardInterrupt:
            raise
        except BaseException:  # the plugin's boundary: told afterwards, so nothing depends on it
            count = self.failures[plugin] = self.failures.get(plugin, 0) + 1
            if (
                count & (count - 1) == 0
            ):  # the 1st, 2nd, 4th, 8th ...: a plugin that always fails floods no log
                logger.exception("plugin %s failed in %s (%d time(s))", plugin, hook, count)


def _check_part(hook: str, part: object) -> None:
    missing = [name for name in PARTS.get(hook, ()) if not hasattr(part, name)]
    if missing:
        raise PluginError(
            f"{hook} returned {part!r:.120}, which has no {' and no '.join(missing)}: see "
            "django_update_pipeline.core.ports for what it must be",
            path="plugins",
        )


def _by_name(function: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    wanted = tuple(names)

    @functools.wraps(function)
    def call(**values: Any) -> Any:
        return function(*(values[name] for name in wanted))

    return call


def _name_of(plugin: object) -> str:
    return getattr(plugin, "__name__", None) or f"{type(plugin).__module__}.{type(plugin).__qualname__}"


def load(name: str) -> object:
    """Imports a plugin by its dotted path: a module, an object in one, or a class (then made without arguments).

    Raises:
        PluginError: it can't be imported; the text names the path and the cause.
    """
    try:
        try:
            found: object = importlib.import_module(name)
        except ModuleNotFoundError as error:
            module, _, attribute = name.rpartition(".")
            if not module or (error.name is not None and not name.startswith(error.name)):
                raise
            found = getattr(importlib.import_module(module), attribute)
        return found() if isinstance(found, type) else found
    except Exception as error:
        raise PluginError(
            f"plugin {name!r} can't be loaded: {type(error).__name__}: {error}; PLUGINS wants dotted paths of modules "
            "or objects",
            path="plugins",
        ) from error
