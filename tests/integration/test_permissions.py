"""The two permissions, and who has them."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.core.management import call_command
from django.db import connection

from django_update_pipeline.models import Pipeline
from django_update_pipeline.permissions import (
    OPERATE,
    VIEW,
    may_operate,
    may_operate_now,
    may_view,
    may_view_now,
)

ROOT = Path(__file__).resolve().parents[2]


def grant(owner: Any, *names: str) -> None:
    """Gives a user or a group some of our permissions (`django_update_pipeline.view_pipeline`)."""
    found = Permission.objects.filter(
        content_type__app_label="django_update_pipeline",
        codename__in=[name.partition(".")[2] for name in names],
    )
    assert found.count() == len(names)
    (owner.user_permissions if isinstance(owner, User) else owner.permissions).add(*found)


@pytest.mark.django_db
def test_the_app_has_two_permissions_and_no_table() -> None:
    names = Permission.objects.filter(content_type__app_label="django_update_pipeline")
    assert {f"django_update_pipeline.{one.codename}" for one in names} == {VIEW, OPERATE}
    assert Pipeline._meta.db_table not in connection.introspection.table_names()


@pytest.mark.django_db
def test_the_migration_is_whole_and_a_dump_meets_no_missing_table() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
    out = io.StringIO()
    call_command("dumpdata", "django_update_pipeline", "--all", stdout=out)
    assert out.getvalue().strip() == "[]"
    call_command("dumpdata", "django_update_pipeline", stdout=out)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("fields", "granted", "views", "operates"),
    [
        ({"is_staff": True}, [], False, False),
        ({"is_staff": True}, [VIEW], True, False),
        ({"is_staff": True}, [OPERATE], True, True),
        ({"is_staff": True}, [VIEW, OPERATE], True, True),
        ({"is_staff": False}, [VIEW, OPERATE], False, False),
        ({"is_staff": True, "is_active": False}, [VIEW, OPERATE], False, False),
        ({"is_staff": True, "is_superuser": True}, [], True, True),
        ({"is_staff": False, "is_superuser": True}, [], False, False),
    ],
)
async def test_active_staff_with_the_permission(
    fields: dict[str, bool], granted: list[str], views: bool, operates: bool
) -> None:
    def make() -> tuple[bool, bool]:
        user = User.objects.create_user("rose", **fields)  # type: ignore[arg-type]
        grant(user, *granted)
        user = User.objects.get(pk=user.pk)
        made.append(user)
        return may_view(user), may_operate(user)

    made: list[User] = []
    assert await sync_to_async(make)() == (views, operates)
    assert (await may_view_now(made[0]), await may_operate_now(made[0])) == (views, operates)


@pytest.mark.django_db(transaction=True)
async def test_what_is_asked_now_is_not_what_the_user_object_remembers() -> None:
    def make() -> tuple[User, Group]:
        user, group = User.objects.create_user("rose", is_staff=True), Group.objects.create(name="operators")
        grant(group, OPERATE)
        user.groups.add(group)
        user = User.objects.get(pk=user.pk)
        assert may_operate(user)
        group.user_set.clear()
        return user, group

    user, group = await sync_to_async(make)()
    assert await sync_to_async(may_operate)(user), "it has its permissions cached"
    assert not await may_operate_now(user)
    await sync_to_async(user.groups.add)(group)
    assert await may_view_now(user)
    await User.objects.all().adelete()
    assert not await may_view_now(user)


@pytest.mark.parametrize("user", [None, AnonymousUser(), object(), SimpleNamespace(is_staff=1, pk=1)])
async def test_who_is_no_user_may_nothing(user: Any) -> None:
    assert not may_view(user)
    assert not may_operate(user)
    assert not await may_view_now(user)


def test_the_app_loads_where_there_are_no_users() -> None:
    """Models and rules work without django.contrib.auth, contenttypes and sessions: then nobody may."""
    program = (
        "import django; from django.conf import settings; "
        "settings.configure(INSTALLED_APPS=['django_update_pipeline'], DATABASES={'default': "
        "{'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}); django.setup(); "
        "from django.core.management import call_command; call_command('check'); "
        "from django_update_pipeline.permissions import may_view; from django_update_pipeline.models import Pipeline; "
        "print(may_view(None), Pipeline.objects.count())"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.split()[-2:] == ["False", "0"], result.stdout + result.stderr
