"""Signatures, verified by the specification's own library and by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from apps.webhooks import services, signing
from apps.webhooks.courier import Courier
from apps.webhooks.models import Endpoint
from tests.webhooks.conftest import SECRET
from tests.webhooks.receivers import Receiver

# The specification's own example of a symmetric signature.
SPEC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SPEC_MESSAGE, SPEC_TIMESTAMP = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
SPEC_BODY = b'{"test": 2432232314}'
SPEC_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_example_of_the_specification() -> None:
    made = signing.signature(SPEC_SECRET, message=SPEC_MESSAGE, timestamp=SPEC_TIMESTAMP, body=SPEC_BODY)
    assert made == SPEC_SIGNATURE


def test_secrets_are_of_the_length_that_the_specification_asks_for_and_never_the_same() -> None:
    made = {signing.new_secret() for _ in range(50)}
    assert len(made) == 50
    for secret in made:
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


@pytest.mark.django_db(transaction=True)
def test_what_arrives_is_verified_by_the_public_library_and_by_hand(endpoint: Endpoint, receiver: Receiver) -> None:
    services.announce(workspace_pk=endpoint.workspace_id, event="job.done", data=lambda: {"title": "Lied für Ada ♫"})
    Courier().run_until_empty()
    (got,) = receiver.received
    assert Webhook(SECRET).verify(got.body, got.headers)["data"] == {"title": "Lied für Ada ♫"}
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{digest}"
    assert got.headers["content-type"] == "application/json"
    assert json.loads(got.body)["type"] == "job.done"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body + b" ", got.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body, {**got.headers, "webhook-id": "another"})
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(got.body, got.headers)


@pytest.mark.django_db(transaction=True)
def test_after_a_change_both_secrets_verify_for_a_day(endpoint: Endpoint, receiver: Receiver, alice: Any) -> None:
    services.rotate_secret(endpoint=endpoint, user=alice)
    endpoint.refresh_from_db()
    new, old = endpoint.secrets_in_force()
    assert old == SECRET and new != old
    services.send_test(endpoint=endpoint, user=alice)
    Courier().run_until_empty()
    got = receiver.received[0]
    assert len(got.headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert Webhook(secret).verify(got.body, got.headers)["type"] == "webhook.test"

    Endpoint.objects.update(previous_secret_until=timezone.now() - timedelta(seconds=1))
    services.send_test(endpoint=endpoint, user=alice)
    Courier().run_until_empty()
    later = receiver.received[1]
    Webhook(new).verify(later.body, later.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(later.body, later.headers)


@pytest.mark.django_db
def test_the_database_holds_no_secret_in_the_clear(endpoint: Endpoint, alice: Any) -> None:
    services.rotate_secret(endpoint=endpoint, user=alice)
    endpoint.refresh_from_db()
    for secret in endpoint.secrets_in_force():
        for column in Endpoint.objects.values().get().values():
            assert secret.removeprefix("whsec_") not in str(column)


@pytest.mark.django_db
def test_secrets_outlive_a_change_of_the_secret_key(endpoint: Endpoint, settings: Any) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-" * 8
    endpoint.refresh_from_db()
    assert endpoint.secrets_in_force() == [SECRET]
