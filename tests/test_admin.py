"""Staff see every model, usefully: list, search, filter and form answer for each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db.models import FileField
from django.test import Client
from django.urls import reverse

from apps.accounts.models import AuditEvent, Invitation, User
from tests.holdings import fill

OURS = [
    model
    for label in ("accounts", "jobs", "voices", "studio", "api")
    for model in apps.get_app_config(label).get_models()
]


@pytest.fixture
def staff(acme: Any, alice: Any, client_of: Callable[[Any], Client]) -> Client:
    fill(acme, alice)
    return client_of(User.objects.create_superuser("staff@example.org", "x"))


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_every_model_is_registered_with_columns_filters_or_search(model: Any) -> None:
    registered = admin.site._registry[model]
    assert registered.list_display != ("__str__",)
    assert registered.search_fields or registered.list_filter


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_its_pages_answer_without_inline_code(model: Any, staff: Client) -> None:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    row = model.objects.first()
    assert row is not None, "tests.holdings must make one"
    for address in (
        reverse(f"{name}_changelist"),
        reverse(f"{name}_changelist") + "?q=acme",
        reverse(f"{name}_change", args=[row.pk]),
        reverse(f"{name}_history", args=[row.pk]),
    ):
        answer = staff.get(address)
        assert answer.status_code == 200, address
        assert not re.search(r"<script(?![^>]*(?:\bsrc=|application/json))", answer.content.decode()), address


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_files_are_named_and_not_handed_out(model: Any, staff: Client) -> None:
    files = [field.name for field in model._meta.fields if isinstance(field, FileField)]
    if not files:
        return
    rows = list(model.objects.all())
    held = next((row for row in rows if any(getattr(row, name) for name in files)), rows[0])
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[held.pk])
    page = staff.get(address).content.decode()
    for name in files:
        file = getattr(held, name)
        assert f'name="{name}"' not in page
        assert not file or (file.name in page and f'href="{file.url}' not in page)


def test_the_audit_log_cannot_be_changed_by_staff(staff: Client) -> None:
    event = AuditEvent.objects.first()
    assert event is not None
    change = reverse("admin:accounts_auditevent_change", args=[event.pk])
    assert staff.post(change, {"action": "nothing"}).status_code == 403
    assert staff.post(reverse("admin:accounts_auditevent_delete", args=[event.pk]), {"post": "yes"}).status_code == 403
    assert staff.get(reverse("admin:accounts_auditevent_add")).status_code == 403


def test_an_invitations_hash_is_not_shown(staff: Client) -> None:
    invitation = Invitation.objects.get()
    page = staff.get(reverse("admin:accounts_invitation_change", args=[invitation.pk]))
    assert invitation.token_hash not in page.content.decode()


def test_staff_make_a_person_by_address(staff: Client) -> None:
    add = reverse("admin:accounts_user_add")
    assert staff.get(add).status_code == 200
    password = {"password1": "correct-horse-battery", "password2": "correct-horse-battery", "usable_password": "true"}
    assert staff.post(add, {"email": "made@example.org", **password}).status_code == 302
    assert User.objects.get(email="made@example.org").check_password("correct-horse-battery")
