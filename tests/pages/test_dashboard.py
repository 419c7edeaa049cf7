from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import Client
from django.utils import timezone

from apps.accounts.models import Membership, Workspace
from apps.jobs.models import Job
from apps.pages.first_run import Numbers, first_run, numbers_of
from tests.holdings import fill

ClientOf = Callable[[Any], Client]


def steps(workspace: Any) -> list[bool]:
    return [step.done for step in first_run(workspace, numbers_of(workspace))]


def test_the_public_page_leads_to_signing_up(db: None) -> None:
    html = Client().get("/").content.decode()
    assert 'href="/accounts/signup/"' in html and "<h1" in html


def test_an_empty_workspace_is_led_by_the_hand(charlies: Any, charlie: Any, client_of: ClientOf) -> None:
    assert steps(charlies) == [False] * 5
    html = client_of(charlie).get("/w/charlies/").content.decode()
    assert html.count('class="is-next"') == 1
    assert 'href="/w/charlies/voices/new/"' in html and "Nothing converted yet" in html


def test_each_step_is_ticked_by_what_is_there(acme: Any, alice: Any, client_of: ClientOf) -> None:
    held = fill(acme, alice)
    assert steps(acme) == [True, False, True, True, True], "one second of recordings is not a minute"
    held["recording"].duration = 60.0
    held["recording"].save()
    assert steps(acme) == [True] * 5
    held["consent"].withdrawn_at = timezone.now()
    held["consent"].save()
    assert steps(acme)[2] is False
    held["consent"].withdrawn_at = None
    held["consent"].save()
    assert "From nothing" not in client_of(alice).get("/w/acme/").content.decode()


def test_an_expired_consent_is_no_consent(acme: Any, alice: Any) -> None:
    held = fill(acme, alice)
    held["consent"].expires_at = timezone.now()
    held["consent"].save()
    assert steps(acme)[2] is False


def test_the_numbers_are_this_workspaces_own(
    acme: Any, alice: Any, charlies: Any, charlie: Any, client_of: ClientOf
) -> None:
    fill(charlies, charlie)
    assert client_of(alice).get("/w/acme/").context["numbers"] == Numbers(0, 0, 0, 0.0)
    assert client_of(charlie).get("/w/charlies/").context["numbers"] == Numbers(1, 1, 1, 1.0)


def test_what_runs_and_what_was_made_last_is_shown(acme: Any, alice: Any, victor: Any, client_of: ClientOf) -> None:
    held = fill(acme, alice)
    running = Job.objects.create(
        workspace=acme, kind="training", title="Training of Ada", task="x", queue="gpu", status="running"
    )
    html = client_of(victor).get("/w/acme/").content.decode()
    assert f'id="job-{running.code}"' in html and "Training of Ada" in html
    assert f'href="/w/acme/conversions/{held["conversion"].code}/"' in html


def test_the_dashboard_takes_few_queries_however_much_there_is(
    acme: Any, alice: Any, client_of: ClientOf, django_assert_max_num_queries: Any
) -> None:
    fill(acme, alice)
    client = client_of(alice)
    client.get("/w/acme/")
    with django_assert_max_num_queries(12):
        client.get("/w/acme/")


def test_the_dashboard_address_goes_where_one_was_last(acme: Any, bob: Any, charlies: Any, client_of: ClientOf) -> None:
    Membership.objects.create(workspace=charlies, user=bob, role="viewer")
    client = client_of(bob)
    client.get("/w/charlies/")
    assert client.get("/dashboard/")["Location"] == "/w/charlies/"
    Workspace.objects.filter(pk=charlies.pk).update(deleted_at=timezone.now())
    assert client.get("/dashboard/")["Location"] == "/w/acme/"


def test_who_is_in_no_workspace_is_asked_to_make_one(charlies: Any, charlie: Any, client_of: ClientOf) -> None:
    charlies.delete()
    assert client_of(charlie).get("/dashboard/")["Location"] == "/workspaces/new/"


def test_ones_own_name_is_changed_in_the_settings(acme: Any, bob: Any, client_of: ClientOf) -> None:
    client = client_of(bob)
    assert client.post("/settings/", {"name": "Robert"}).status_code == 302
    assert "Robert" in client.get("/w/acme/team/").content.decode()
    assert client.post("/settings/", {"name": "x" * 101}).status_code == 422
