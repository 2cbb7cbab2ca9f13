"""Who asks: the user of a request, and what they may do here. Read in Django's thread, since both ask the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest

from ..permissions import may_operate, may_view


@dataclass(frozen=True, slots=True)
class Visitor:
    """What a request may see. `name` is for the page's corner; empty for anonymous ones."""

    is_signed_in: bool = False
    may_view: bool = False
    may_operate: bool = False
    name: str = ""


async def visitor_of(request: HttpRequest) -> Visitor:
    """The visitor; nobody, where the project has no AuthenticationMiddleware."""
    return await sync_to_async(_read, thread_sensitive=True)(request)


def _read(request: HttpRequest) -> Visitor:
    user: Any = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return Visitor()
    if not may_view(user):
        return Visitor(is_signed_in=True)
    return Visitor(True, True, may_operate(user), user.get_username())
