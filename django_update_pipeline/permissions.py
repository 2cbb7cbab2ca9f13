"""Who may watch the pipeline and who may operate it: asked by the admin socket, the staff pages and the views.

    may_view(user)        active staff with `django_update_pipeline.view_pipeline` (or `operate_pipeline`)
    may_operate(user)     active staff with `django_update_pipeline.operate_pipeline`

Superusers that are active staff have both. Without django.contrib.auth there is no user, and nobody may.

The plain functions believe the user object they are given, and its cache of permissions: right for a request, whose
user was just read. A connection lives longer: it asks the `_now` functions, which read the user again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .sessions import in_database_thread

VIEW: Final = "django_update_pipeline.view_pipeline"
OPERATE: Final = "django_update_pipeline.operate_pipeline"


def may_view(user: Any) -> bool:
    """Whether a user may watch: read reports, see connections and dead letters. May ask the database: no loop's."""
    return _is_active_staff(user) and bool(user.has_perm(VIEW) or user.has_perm(OPERATE))


def may_operate(user: Any) -> bool:
    """Whether a user may change something: reset the breaker, replay or discard. May ask the database: no loop's."""
    return _is_active_staff(user) and bool(user.has_perm(OPERATE))


async def may_view_now(user: Any) -> bool:
    """`may_view`, with the user read afresh. On any loop; the database is asked in Django's thread."""
    return await _afresh(may_view, user)


async def may_operate_now(user: Any) -> bool:
    """`may_operate`, with the user read afresh. On any loop; the database is asked in Django's thread."""
    return await _afresh(may_operate, user)


def read_again(user: Any) -> Any:
    """The user's row as it is now, its permissions not yet asked for; None if there is none. Asks the database."""
    key = getattr(user, "pk", None)
    # Not type(user): behind Channels' AuthMiddlewareStack the user is a lazy object of its own type.
    manager = getattr(user.__class__, "_default_manager", None)
    return None if key is None or manager is None else manager.filter(pk=key).first()


def _is_active_staff(user: Any) -> bool:
    return all(getattr(user, claim, False) is True for claim in ("is_authenticated", "is_active", "is_staff"))


async def _afresh(rule: Callable[[Any], bool], user: Any) -> bool:
    return await in_database_thread(lambda: rule(read_again(user)))
