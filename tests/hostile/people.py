"""The people behind the campaign's sockets: an operator and a member, each with a session in a database of its own."""

from __future__ import annotations


def settle() -> dict[str, bytes]:
    """Makes the tables and the people; each one's session cookie."""
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command

    call_command("migrate", verbosity=0, run_syncdb=True)
    cookies = {}
    for name, fields in (("member", {}), ("operator", {"is_staff": True, "is_superuser": True})):
        user = get_user_model().objects.create_user(name, password="x", **fields)
        session = SessionStore()
        session["_auth_user_id"] = str(user.pk)
        session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
        session["_auth_user_hash"] = user.get_session_auth_hash()
        session.save()
        cookies[name] = f"sessionid={session.session_key}".encode()
    return cookies
