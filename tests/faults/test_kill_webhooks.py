"""The whole site is killed while it sends webhooks: what was committed is told all the same."""

from __future__ import annotations

import shutil
from typing import Any

from tests.stack import Stack, running, short_folder
from tests.webhooks.receivers import answer, listening

ADD = """
from apps.accounts.models import User
from apps.webhooks.services import create_endpoint
user = User.objects.get(email="admin@localhost")
workspace = user.workspaces.first()
endpoint = create_endpoint(workspace=workspace, user=user, url=url, description="", events=[])
result = endpoint.secrets_in_force()[0]
"""
SUBMIT = """
from apps.accounts.models import User
from apps.jobs.services import submit
from tests.jobs import bodies
workspace = User.objects.get(email="admin@localhost").workspaces.first()
result = submit(workspace=workspace, user=None, kind="test", title="x", task=bodies.succeed, queue="default").pk
"""
LOOK = """
from apps.webhooks.models import Delivery
result = sorted(Delivery.objects.values_list("event", "status"))
"""
ALL = [["job.done", "delivered"], ["job.queued", "delivered"], ["job.running", "delivered"]]


def hang(handler: Any) -> None:
    handler.connection.settimeout(60)
    handler.connection.recv(1)  # until the sender has gone


def test_the_site_dies_amid_a_delivery_and_tells_all_of_it_after_its_next_start() -> None:
    from standardwebhooks import Webhook

    folder = short_folder()
    try:
        with listening() as receiver:
            receiver.behave = hang
            with running(folder, WEBHOOK_ALLOW_PRIVATE="true") as site:
                secret = site.django(ADD, url=receiver.url)
                site.django(SUBMIT)
                receiver.wait_for(1, seconds=60)
                site.wait_until(lambda: len(site.django(LOOK)) == 3, seconds=60)
                assert not any(status == "delivered" for _, status in site.django(LOOK))
                site.process.kill()
                site.process.wait(10)
            before = len(receiver.received)
            receiver.behave = answer(204)
            with running(folder, WEBHOOK_ALLOW_PRIVATE="true") as again:
                again.wait_until(lambda: again.django(LOOK) == ALL, seconds=90)
            got = receiver.received
            assert {one.json()["type"] for one in got[before:]} == {"job.queued", "job.running", "job.done"}
            assert len({one.headers["webhook-id"] for one in got}) == 3
            for one in got[before:]:
                Webhook(secret).verify(one.body, one.headers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_told_to_stop_the_site_ends_as_it_should_though_a_receiver_hangs() -> None:
    folder = short_folder()
    try:
        with listening() as receiver, running(folder, WEBHOOK_ALLOW_PRIVATE="true") as site:
            receiver.behave = hang
            site.django(ADD, url=receiver.url)
            site.django(SUBMIT)
            receiver.wait_for(1, seconds=60)
            assert site.stop(seconds=30) == 0
            assert nothing_left(site)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def nothing_left(site: Stack) -> bool:
    return not site.processes()
