"""Everything that changes who may do what writes a line of the audit log, in the name of who did it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from apps.accounts import adapter, keys, services
from apps.accounts.models import AuditEvent
from tests.accounts.test_login import LOGIN, totp
from tests.conftest import PASSWORD
from tests.holdings import fill

Act = Callable[[Any, Any, dict[str, Any]], Any]  # workspace, who does it, what the workspace holds


def _bobs_key(workspace: Any) -> Any:
    bob = workspace.memberships.select_related("user").get(role="editor")
    return keys.issue(membership=bob, name="Bob's", scope="read")[0]


def _accept(workspace: Any, user: Any, held: dict[str, Any]) -> None:
    from apps.accounts.models import User

    _, token = services.invite(workspace=workspace, user=user, email="dora@example.org", role="viewer")
    services.accept(token=token, user=User.objects.create_user("dora@example.org"))


def _restore(workspace: Any, user: Any, held: dict[str, Any]) -> None:
    services.delete_workspace(workspace=workspace, user=user)
    services.restore_workspace(workspace=workspace, user=user)


def _member(workspace: Any, role: str) -> Any:
    return workspace.memberships.select_related("user", "workspace").get(role=role)


ACTS: dict[str, Act] = {
    "workspace.created": lambda ws, user, held: services.create_workspace(user=user, name="New"),
    "workspace.renamed": lambda ws, user, held: services.rename(workspace=ws, user=user, name="B", slug="b"),
    "workspace.transferred": lambda ws, user, held: services.transfer(
        workspace=ws, owner=user, to=_member(ws, "admin")
    ),
    "workspace.deleted": lambda ws, user, held: services.delete_workspace(workspace=ws, user=user),
    "workspace.restored": _restore,
    "invitation.sent": lambda ws, user, held: services.invite(
        workspace=ws, user=user, email="eve@example.org", role="viewer"
    ),
    "invitation.withdrawn": lambda ws, user, held: services.withdraw(invitation=held["invitation"], user=user),
    "member.joined": _accept,
    "member.role": lambda ws, user, held: services.change_role(
        membership=_member(ws, "editor"), user=user, role="viewer"
    ),
    "member.removed": lambda ws, user, held: services.remove_member(membership=_member(ws, "editor"), user=user),
    "member.left": lambda ws, user, held: services.remove_member(
        membership=_member(ws, "editor"), user=_member(ws, "editor").user
    ),
    "api_key.created": lambda ws, user, held: _bobs_key(ws),
    "api_key.rotated": lambda ws, user, held: keys.rotate(key=_bobs_key(ws), user=user, overlap=timedelta(0)),
    "api_key.revoked": lambda ws, user, held: keys.revoke(key=_bobs_key(ws), user=user),
}


@pytest.mark.parametrize("action", ACTS)
def test_it_is_written_down(acme: Any, alice: Any, action: str) -> None:
    held = fill(acme, alice)
    before = AuditEvent.objects.filter(action=action).count()
    ACTS[action](acme, alice, held)
    line = AuditEvent.objects.filter(action=action).first()
    assert line is not None and AuditEvent.objects.filter(action=action).count() == before + 1
    doers = {
        "member.joined": "dora@example.org",
        "member.left": "bob@example.org",
        "api_key.created": "bob@example.org",
    }
    assert line.user is not None and line.user.email == doers.get(action, alice.email)
    assert line.target


def test_a_member_whose_account_goes_leaves_a_line_without_their_name(acme: Any, bob: Any) -> None:
    key = _bobs_key(acme)
    services.erase_account(user=bob)
    revoked, left = (
        acme.audit_events.filter(action="api_key.revoked").get(),
        acme.audit_events.get(action="member.left"),
    )
    assert revoked.data["code"] == str(key.code)
    assert (left.user, left.target, left.data) == (None, "", {"account": "deleted"})


def test_a_key_that_staff_revokes_is_in_the_log(acme: Any, client_of: Callable[[Any], Client]) -> None:
    from apps.accounts.models import User

    key = _bobs_key(acme)
    staff = client_of(User.objects.create_superuser("staff@example.org", "x"))
    answer = staff.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": [key.pk]})
    assert answer.status_code == 302
    key.refresh_from_db()
    assert not key.is_usable
    actions = set(acme.audit_events.values_list("action", "user__email"))
    assert {("staff.revoked", "staff@example.org"), ("api_key.revoked", None)} <= actions


@pytest.mark.django_db(transaction=True)
def test_a_second_factor_switched_on_and_off_is_in_the_log(acme: Any, alice: Any) -> None:
    client = Client()
    client.post(LOGIN, {"login": alice.email, "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    secret = client.get("/accounts/2fa/totp/activate/").context["form"].secret
    assert client.post("/accounts/2fa/totp/activate/", {"code": totp(secret)}).status_code == 302
    assert client.post("/accounts/2fa/recovery-codes/generate/").status_code == 302
    assert client.post("/accounts/2fa/totp/deactivate/").status_code == 302
    found = list(acme.audit_events.order_by("pk").values_list("action", flat=True))
    assert [one for one in found if one.split(".")[0] in ("second_factor", "recovery_codes")] == [
        "second_factor.on",
        "recovery_codes.made",
        "second_factor.off",
    ]
    assert secret not in str(list(acme.audit_events.values()))


def test_all_that_allauth_tells_has_a_name_of_ours() -> None:
    """Its letters about a person's log-in, found where it sends them; of other ways to log in there are none here."""
    import re
    from pathlib import Path

    import allauth

    sent: set[str] = set()
    for path in Path(allauth.__file__).parent.rglob("flows*/**/*.py"):
        sent |= set(re.findall(r'send_notification_mail\(\s*"([a-z/_]+)"', path.read_text()))
    for path in Path(allauth.__file__).parent.rglob("flows.py"):
        sent |= set(re.findall(r'send_notification_mail\(\s*"([a-z/_]+)"', path.read_text()))
    ours = {name for name in sent if not name.startswith("socialaccount/") and "webauthn" not in name}
    assert ours == set(adapter.AUDITED)
