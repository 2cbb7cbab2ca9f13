"""The typed facade over pluggy: loads plugins, keeps their order, isolates their failures.

Only this module and `hookspecs` know pluggy. Hooks are resolved here, once; what the pipeline gets are objects and
tuples of plain callables.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import time
from collections.abc import Callable, Iterable
from typing import Any

import pluggy

from .. import hookspecs
from ..core.config import ContainmentConfig, PipelineConfig
from ..core.names import error_text
from ..exceptions import ActionRefused, ConfigurationError, PluginError
from ..runtime.boundary import Boundary, PartFailed, discard
from ..runtime.containment import Containment
from ..runtime.observers import Observer, Observers

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


#: Whose failures are raised as they are; other questions' are no answers.
HANDLERS = ("handle_action", "action ")


class Plugins:
    """One pipeline's plugins, in order: those of the settings, then entry points, then the built-ins.

    Earlier ones are asked first, so a deployment's own parts go before ours.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        *,
        entry_points: bool = True,
        extra: Iterable[object] = (),
        containment: Containment | None = None,
    ) -> None:
        self.containment = containment or Containment(ContainmentConfig(), time.monotonic)
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
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

    @property
    def failures(self) -> dict[str, int]:
        """How often each plugin's parts failed, by plugin."""
        return self.containment.failures()

    def enable(self, name: str) -> list[str]:
        """Switches a plugin's parts on again; the names of those that were off. Any thread.

        Raises:
            PluginError: there is no such plugin.
        """
        try:
            return self.containment.enable(name)
        except KeyError:
            if name in self.names():
                return []
            raise PluginError(
                f"there is no plugin {name!r}: give one of {', '.join(self.names())}", path="plugins"
            ) from None

    def report(self) -> list[dict[str, Any]]:
        """Each part's record: plugin, part, is_off, off_because, failures, last_error, blocks ..."""
        return self.containment.report()

    def first(self, hook: str, config: PipelineConfig) -> Any:
        """The first part that a plugin provides, or None."""
        for plugin, part in self._answers(hook, config, first=True):
            _check_part(hook, plugin, part)
            self.containment.providers[id(part)] = part, plugin
            return part
        return None

    def all(self, hook: str, config: PipelineConfig) -> list[Any]:
        """All parts that plugins provide, in the order in which they are asked."""
        parts: list[Any] = []
        for plugin, result in self._answers(hook, config):
            if not isinstance(result, (list, tuple)):
                discard(result)
                raise PluginError(
                    f"{hook} of plugin {plugin} returned {result!r:.120}: return a list of parts",
                    path="plugins",
                )
            for part in result:
                if part is not None:
                    _check_part(hook, plugin, part)
                    self.containment.providers[id(part)] = part, plugin
                    parts.append(part)
        return parts

    def _answers(self, hook: str, config: PipelineConfig, *, first: bool = False) -> list[tuple[str, Any]]:
        """Each plugin's answer with the plugin's name, Nones left out; with `first` only the first one.

        Hook wrappers see the answers of all, so where there is one pluggy asks, and the part's class is the name.
        """
        caller = getattr(self.manager.hook, hook)
        implementations = list(reversed(caller.get_hookimpls()))
        if any(one.hookwrapper or one.wrapper for one in implementations):
            answer = self._call(hook, "", functools.partial(caller, config=config))
            answers = [answer] if first else list(answer or ())
            return [(_name_of(one), one) for one in answers if one is not None]
        found = []
        for one in implementations:
            call = _by_name(one.function, one.argnames)
            answer = self._call(hook, one.plugin_name, functools.partial(call, config=config))
            if answer is not None:
                found.append((one.plugin_name, answer))
                if first:
                    break
        return found

    def _call(self, hook: str, plugin: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (ConfigurationError, KeyboardInterrupt):  # the first says itself what is wrong, and where
            raise
        except BaseException as error:  # also SystemExit: a plugin does not end the process that asks it
            who = f"{hook} of plugin {plugin}" if plugin else hook
            raise PluginError(f"{who} failed: {error_text(error)}", path="plugins") from error

    def questions(self, hook: str) -> tuple[Callable[..., Any], ...]:
        """A decision hook's implementations as plain callables taking all its arguments by name, each contained."""
        found = []
        for one in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
            boundary = self.containment.boundary(one.plugin_name, "access hook", hook)
            found.append(_contained(boundary, _by_name(one.function, one.argnames)))
        return tuple(found)

    def contained(
        self, part: object, title: str, function: Callable[..., Any], names: Iterable[str]
    ) -> Callable[..., Any]:
        """A function that a part of a plugin brought along (an action's handler), asked as the hooks above are."""
        provider = self.containment.providers.get(id(part))
        plugin = _name_of(part) if provider is None else provider[1]
        return _contained(self.containment.boundary(plugin, "access hook", title), _by_name(function, names))

    def observers(self) -> Observers:
        """The notices, each implementation isolated."""
        observers = Observers()
        for notice in Observers.notices():
            hook = f"observe_{notice}"
            told = []
            for one in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
                boundary = self.containment.boundary(one.plugin_name, "observer", hook)
                told.append(Observer(boundary, _by_name(one.function, one.argnames)))
            setattr(observers, notice, tuple(told))
        return observers


def _check_part(hook: str, plugin: str, part: object) -> None:
    if inspect.isawaitable(part):
        discard(part)
    missing = [name for name in PARTS.get(hook, ()) if not hasattr(part, name)]
    if missing:
        raise PluginError(
            f"{hook} of plugin {plugin} returned {part!r:.120}, which has no {' and no '.join(missing)}: see "
            "django_update_pipeline.core.ports for what it must be",
            path="plugins",
        )


def _by_name(function: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    wanted = tuple(names)

    @functools.wraps(function)
    def call(**values: Any) -> Any:
        return function(*(values[name] for name in wanted))

    return call


def _contained(boundary: Boundary, question: Callable[..., Any]) -> Callable[..., Any]:
    """A question that is on record while it runs, and can't change its arguments for the next one.

    What goes wrong is raised to the asker: for it no answer is a no. An `authorize_*` hook's failure is raised as
    `PartFailed`, which names the plugin. `ActionRefused` is an answer, and is raised as it is.
    """

    def outcome(error: BaseException) -> Exception:
        if isinstance(error, ActionRefused):
            boundary.passed()
            return error
        boundary.failed(error, is_told=True)
        if boundary.title.startswith(HANDLERS) and isinstance(error, Exception):
            return error  # what an action's handler raises is told apart by who asked it
        return PartFailed(boundary, error)

    if inspect.iscoroutinefunction(inspect.unwrap(question)):

        @functools.wraps(question)
        async def ask_later(**values: Any) -> Any:
            error, answer = await boundary.outcome(question(**_own_params(values)))
            if error is not None:
                raise outcome(error) from error
            boundary.passed()
            return answer

        return ask_later

    @functools.wraps(question)
    def ask(**values: Any) -> Any:
        try:
            answer = boundary.ask(functools.partial(question, **_own_params(values)))
        except PartFailed as failure:
            raise outcome(failure.error) from failure.error
        boundary.passed()
        return answer

    return ask


def _own_params(values: dict[str, Any]) -> dict[str, Any]:
    """Arguments of which the client's params are a copy: what one hook does with them is not what the next one sees."""
    if "params" in values:
        return {**values, "params": copy.deepcopy(values["params"])}
    return values


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
