"""The demo operator: the staff user who sees the pipeline's page. Only who knows the key of this run becomes it.

`dev.py run` makes a key and prints the address that holds it, so whoever can read that terminal gets in, without a
password to choose. Without a key in the environment nobody does.
"""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

USERNAME = "demo_operator"


def knows_the_key(key: str) -> bool:
    """Whether this is the key of DATING_SHOW_OPERATOR_KEY; False if there is none."""
    expected: str = settings.OPERATOR_KEY
    return expected != "" and secrets.compare_digest(key.encode(), expected.encode())


def demo_operator() -> Any:
    """The user, made at the first call: staff, with the pipeline's permissions and no other. Asks the database."""
    user, made = get_user_model().objects.get_or_create(username=USERNAME, defaults={"is_staff": True})
    if made:
        user.set_unusable_password()
        user.save(update_fields=["password"])
        user.user_permissions.add(
            *Permission.objects.filter(content_type__app_label="django_update_pipeline")
        )
    return user
