"""Makes the project's database with a visitor and an operator signed in; prints their session keys as JSON."""

from __future__ import annotations

import json

import django

django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402


def sign_in(name: str, **fields: bool) -> str:
    user = get_user_model().objects.create_user(name, password=None, **fields)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    assert session.session_key is not None
    return session.session_key


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    print(
        json.dumps(
            {"visitor": sign_in("visitor"), "operator": sign_in("operator", is_staff=True, is_superuser=True)}
        )
    )
