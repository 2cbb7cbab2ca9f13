"""The demo producer: the one user who may act. Anybody who can open the page may become it with a click."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model

USERNAME = "demo_producer"
BACKEND = "django.contrib.auth.backends.ModelBackend"


def demo_producer() -> Any:
    """The user, made at the first call, with a password nobody can know. Asks the database."""
    user, made = get_user_model().objects.get_or_create(username=USERNAME)
    if made:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user


def is_producer(user: Any) -> bool:
    """Whether a Django user (or None) is the demo producer."""
    return bool(
        user is not None
        and getattr(user, "is_authenticated", False)
        and getattr(user, "is_active", False)
        and user.get_username() == USERNAME
    )
