"""Who is behind a handshake, and whether they still are: Django's users and sessions, read without writing anything.

    recognise(scope)      at the handshake: the user of the session cookie, or whom a middleware put into the scope
    look(identities)      later, for many sockets at once: the same users as they are now, in a few queries
    watch_of(pipeline)    the pipeline's watch, joined to Django's signals at its first socket
    permission_changed()  for what no signal tells: "look again now"

Django's own `get_user()` ends a session whose password changed and gives a new key to one that was signed with an older
secret. Here nobody could send the new cookie back, so a session is judged by the same rules and left as it is.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.db import connections, router, transaction
from django.http import parse_cookie
from django.utils import timezone

from .runtime.pipeline import UpdatePipeline
from .runtime.watch import Standing, Watch

_T = TypeVar("_T")

#: A session key as cookies may hold it (a signed one is long). Anything else is no key, and no database is asked.
_KEY = re.compile(r"[\x21-\x7e]{8,4096}")
#: So many sessions or users are asked for in one query.
_CHUNK: Final = 500

_lock = threading.Lock()
_watches: WeakKeyDictionary[UpdatePipeline, Watch] = WeakKeyDictionary()
_is_connected = False


async def in_database_thread(call: Callable[[], _T]) -> _T:
    """Runs what asks the database in Django's thread, without a connection that has gone stale there.

    The thread outlives any request, and only requests make Django close connections that are too old or broken.
    """

    def run() -> _T:
        _close_stale_connections()
        try:
            return call()
        finally:
            _close_stale_connections()

    return await sync_to_async(run, thread_sensitive=True)()


def _close_stale_connections() -> None:
    for connection in connections.all(initialized_only=True):
        with contextlib.suppress(Exception):  # if it is no good, whoever asks it next is told
            connection.close_if_unusable_or_obsolete()


@dataclass(frozen=True, slots=True)
class Identity:
    """How a user was found. Without a session key they were put into the scope by a middleware, as for a token.

    `must` is a rule of the door they came through, asked with the fresh user.
    """

    model: type[Any]
    user_id: Any
    session_key: str | None
    must: Callable[[Any], bool] | None = None

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """What signals name them by."""
        user = user_key(self.user_id)
        return (user,) if self.session_key is None else (user, session_key(self.session_key))


def user_key(user_id: Any) -> Hashable:
    """A user's key with the watch."""
    return ("user", str(user_id))


def session_key(key: str) -> Hashable:
    """A session's key with the watch."""
    return ("session", key)


def has_users() -> bool:
    """Whether this project has Django's users."""
    return apps.is_installed("django.contrib.auth")


# the handshake


class Recognised(NamedTuple):
    """Who is there: a user, AnonymousUser, or None where django.contrib.auth is not used; how to look them up again
    (None for nobody); and for how long the log-in lasts if nothing happens, None if that is not known.
    """

    user: Any
    identity: Identity | None = None
    valid_s: float | None = None


async def recognise(scope: Mapping[str, Any], must: Callable[[Any], bool] | None = None) -> Recognised:
    """The user of a handshake: whom a middleware put into the scope, else the session cookie's. On any loop."""
    if "user" in scope:
        user = scope["user"]
        if not getattr(user, "is_authenticated", False) or getattr(user, "pk", None) is None:
            return Recognised(user)
        return await in_database_thread(lambda: _identified(user, scope.get("session"), must))
    if not (has_users() and apps.is_installed("django.contrib.sessions")):
        return Recognised(None)
    from django.contrib.auth.models import AnonymousUser

    key = _cookie(scope)
    if key is None:
        return Recognised(AnonymousUser())
    return await in_database_thread(lambda: _by_session(key, must))


def _cookie(scope: Mapping[str, Any]) -> str | None:
    cookies = b"; ".join(value for name, value in scope.get("headers", ()) if name == b"cookie")
    key = parse_cookie(cookies.decode("latin-1")).get(settings.SESSION_COOKIE_NAME) if cookies else None
    return key if key and _KEY.fullmatch(key) else None


def _by_session(key: str, must: Callable[[Any], bool] | None) -> Recognised:
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import AnonymousUser

    sessions = _read_sessions([key])
    user = _users_of(sessions).get(key) if key in sessions else None
    if user is None:
        return Recognised(AnonymousUser())
    return Recognised(user, Identity(get_user_model(), user.pk, key, must), sessions[key].valid_s)


def _identified(user: Any, session: Any, must: Callable[[Any], bool] | None) -> Recognised:
    # Not type(user): behind Channels' AuthMiddlewareStack the user is a lazy object of its own type.
    model = user.__class__
    if not hasattr(model, "_default_manager"):
        return Recognised(user)  # no row that could be read again: the middleware's own affair
    key = None
    if session is not None and session.session_key and _user_id(session) == user.pk:
        key = session.session_key
    return Recognised(user, Identity(model, user.pk, key, must))


# looking again


async def look(identities: Sequence[Identity]) -> list[Standing | None]:
    """Who they are now. One hop to Django's thread; two queries for up to 500 where sessions are in the database."""
    return await in_database_thread(lambda: _look(identities))


def _look(identities: Sequence[Identity]) -> list[Standing | None]:
    sessions = _read_sessions({one.session_key for one in identities if one.session_key is not None})
    by_session = _users_of(sessions)
    by_id = _users_by_id([one for one in identities if one.session_key is None])
    return [_standing(one, sessions, by_session, by_id) for one in identities]


def _standing(
    identity: Identity,
    sessions: Mapping[str, _Session],
    by_session: Mapping[str, Any],
    by_id: Mapping[tuple[type[Any], Any], Any],
) -> Standing | None:
    valid_s = None
    if identity.session_key is None:
        user = by_id.get((identity.model, identity.user_id))
    else:
        session = sessions.get(identity.session_key)
        user = by_session.get(identity.session_key)
        valid_s = session.valid_s if session is not None else None
    if user is None or user.pk != identity.user_id:
        return Standing(None)
    try:
        may = identity.must is None or identity.must(user)
    except Exception:  # the database, or somebody's backend: asked again soon
        return None
    return Standing(user if may else None, valid_s)


@dataclass(frozen=True, slots=True)
class _Session:
    data: Mapping[str, Any]
    valid_s: float | None


def _read_sessions(keys: Iterable[str]) -> dict[str, _Session]:
    """The sessions that there are, by key. Those in the database are read from there, also where a cache is before it:
    it may be another process's word on a session that has ended.
    """
    wanted = list(keys)
    if not wanted:
        return {}
    from django.contrib.sessions.backends import cached_db, db

    store_type: Any = import_module(settings.SESSION_ENGINE).SessionStore
    if getattr(store_type, "load", None) not in (db.SessionStore.load, cached_db.SessionStore.load):
        return {key: _Session(data, None) for key in wanted if (data := dict(store_type(key).items()))}
    found: dict[str, _Session] = {}
    now = timezone.now()
    for start in range(0, len(wanted), _CHUNK):
        rows = store_type.get_model_class().objects.filter(
            session_key__in=wanted[start : start + _CHUNK], expire_date__gt=now
        )
        for row in rows:
            data = store_type(row.session_key).decode(row.session_data)
            found[row.session_key] = _Session(data, (row.expire_date - now).total_seconds())
    return found


def _user_id(session: Mapping[str, Any]) -> Any:
    """Whose session it is; None for nobody's."""
    from django.contrib.auth import SESSION_KEY, get_user_model
    from django.core.exceptions import ValidationError

    text = session.get(SESSION_KEY)
    try:
        return None if text is None else get_user_model()._meta.pk.to_python(text)
    except ValidationError:  # a key of another user model
        return None


def _users_of(sessions: Mapping[str, _Session]) -> dict[str, Any]:
    """The users of sessions that Django would believe, by session key."""
    from django.contrib.auth import BACKEND_SESSION_KEY, load_backend
    from django.contrib.auth.backends import ModelBackend

    wanted: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for key, session in sessions.items():
        user_id, path = _user_id(session.data), session.data.get(BACKEND_SESSION_KEY)
        if user_id is not None and path in settings.AUTHENTICATION_BACKENDS:
            wanted[str(path)][key] = user_id
    found: dict[str, Any] = {}
    for path, ids in wanted.items():
        backend: Any = load_backend(path)
        if getattr(type(backend), "get_user", None) is ModelBackend.get_user:
            users = {
                pk: user
                for pk, user in _rows(_user_model(), set(ids.values())).items()
                if backend.user_can_authenticate(user)
            }
        else:
            users = {user_id: backend.get_user(user_id) for user_id in set(ids.values())}
        for key, user_id in ids.items():
            user = users.get(user_id)
            if user is not None and _is_verified(user, sessions[key].data):
                found[key] = user
    return found


def _is_verified(user: Any, session: Mapping[str, Any]) -> bool:
    """Whether the session was made with the user's password of today, under the secret or one before it."""
    from django.contrib.auth import HASH_SESSION_KEY
    from django.utils.crypto import constant_time_compare

    if not hasattr(user, "get_session_auth_hash"):
        return True
    told = session.get(HASH_SESSION_KEY)
    if not told:
        return False
    if constant_time_compare(told, user.get_session_auth_hash()):
        return True
    return any(constant_time_compare(told, older) for older in user.get_session_auth_fallback_hash())


def _user_model() -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model()


def _rows(model: Any, ids: Iterable[Any]) -> dict[Any, Any]:
    wanted, found = list(ids), {}
    for start in range(0, len(wanted), _CHUNK):
        for row in model._default_manager.filter(pk__in=wanted[start : start + _CHUNK]):
            found[row.pk] = row
    return found


def _users_by_id(identities: Iterable[Identity]) -> dict[tuple[type[Any], Any], Any]:
    """Users without a session: they are there, and active."""
    wanted: defaultdict[type[Any], set[Any]] = defaultdict(set)
    for one in identities:
        wanted[one.model].add(one.user_id)
    return {
        (model, pk): row
        for model, ids in wanted.items()
        for pk, row in _rows(model, ids).items()
        if getattr(row, "is_active", True)
    }


# the watch and the signals


def watch_of(pipeline: UpdatePipeline) -> Watch:
    """The watch of a pipeline's sockets."""
    watch = _watches.get(pipeline)
    if watch is None:
        with _lock:
            watch = _watches.get(pipeline)
            if watch is None:
                limits = pipeline.config.connections
                watch = _watches[pipeline] = Watch(
                    look,
                    recheck_s=limits.recheck_s,
                    look_timeout_s=limits.hook_timeout_s,
                    monotonic=pipeline.clock.monotonic,
                )
    connect_signals()
    return watch


def permission_changed(user: Any = None) -> None:
    """Has every open socket of a user (or of everybody) looked at again within a second. Any thread; cheap.

    For what Django's signals don't tell: `QuerySet.update()`, groups kept elsewhere, what your hooks decide by. Inside
    a transaction it is told at the commit. It concerns the sockets of this process; the other ones look by themselves
    within `recheck_s`.

    Args:
        user: a user, or the primary key of one; None is everybody.
    """
    key = None if user is None else user_key(getattr(user, "pk", user))
    if has_users():
        _at_commit(router.db_for_write(_user_model()), lambda: _look_again(key))
    else:
        _look_again(key)


def connect_signals() -> None:
    """Joins Django's signals to the watches, once, in a process that serves sockets: elsewhere they would only cost,
    since a model with a `post_delete` receiver is not deleted in one statement.
    """
    global _is_connected
    if _is_connected or not has_users():
        return
    with _lock:
        if _is_connected:
            return
        from django.contrib.auth import get_user_model
        from django.contrib.auth.models import Group, Permission
        from django.contrib.auth.signals import user_logged_out
        from django.db.models.signals import m2m_changed, post_delete, post_save

        user_model: Any = get_user_model()
        uid = "django_update_pipeline.sessions"
        user_logged_out.connect(_on_logged_out, dispatch_uid=uid)
        post_save.connect(_on_saved, dispatch_uid=uid)  # of any model: a user may be saved as a proxy
        post_delete.connect(_on_user_deleted, sender=user_model, dispatch_uid=uid)
        for model in (Group, Permission):
            post_delete.connect(_on_anybody_changed, sender=model, dispatch_uid=uid)
        m2m_changed.connect(_on_anybody_changed, sender=Group.permissions.through, dispatch_uid=uid)
        for name in ("groups", "user_permissions"):
            field: Any = getattr(user_model, name, None)
            if hasattr(field, "through"):
                m2m_changed.connect(_on_memberships, sender=field.through, dispatch_uid=uid)
        if apps.is_installed("django.contrib.sessions"):
            store: Any = import_module(settings.SESSION_ENGINE).SessionStore
            if hasattr(store, "get_model_class"):
                post_delete.connect(_on_session_deleted, sender=store.get_model_class(), dispatch_uid=uid)
        _is_connected = True


def _look_again(key: Hashable | None, delay_s: float = 0.0) -> None:
    for watch in list(_watches.values()):
        watch.look_again(key, delay_s)


def _end(key: Hashable, *, for_good: bool = False) -> None:
    for watch in list(_watches.values()):
        watch.end(key, for_good=for_good)


def _at_commit(using: str | None, call: Callable[[], None]) -> None:
    if transaction.get_connection(using).in_atomic_block:
        transaction.on_commit(call, using=using, robust=True)
    else:  # not by on_commit, which would connect, and not from a loop
        call()


def _on_logged_out(sender: Any, request: Any, user: Any, **_: Any) -> None:
    session = getattr(request, "session", None)
    key = getattr(session, "session_key", None)
    if key and settings.SESSION_ENGINE != "django.contrib.sessions.backends.signed_cookies":
        _end(session_key(key), for_good=True)
    elif key and user is not None:
        _end(user_key(user.pk))  # a signed cookie names no session: each save makes another one
    elif user is not None:
        _look_again(user_key(user.pk), delay_s=0.3)  # the session goes just after this signal


def _on_saved(sender: Any, instance: Any, using: Any, update_fields: Any = None, **_: Any) -> None:
    if isinstance(instance, _user_model()) and update_fields != frozenset({"last_login"}):
        key = user_key(instance.pk)
        _at_commit(using, lambda: _look_again(key))


def _on_user_deleted(sender: Any, instance: Any, using: Any, **_: Any) -> None:
    key = user_key(instance.pk)
    _at_commit(using, lambda: _look_again(key))


def _on_session_deleted(sender: Any, instance: Any, using: Any, **_: Any) -> None:
    key = session_key(instance.session_key)
    _at_commit(using, lambda: _end(key, for_good=True))


def _on_anybody_changed(sender: Any, using: Any, **_: Any) -> None:
    _at_commit(using, lambda: _look_again(None))


def _on_memberships(
    sender: Any, instance: Any, action: str, reverse: bool, pk_set: Any, using: Any, **_: Any
) -> None:
    if not action.startswith("post_"):
        return
    if not reverse:
        keys: list[Hashable | None] = [user_key(instance.pk)]
    elif pk_set is None:  # a group was cleared: of whom is not told
        keys = [None]
    else:
        keys = [user_key(pk) for pk in pk_set]

    def look_again() -> None:
        for key in keys:
            _look_again(key)

    _at_commit(using, look_again)
