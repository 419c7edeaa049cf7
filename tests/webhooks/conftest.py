"""A receiver, and endpoints of acme that lead to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apps.accounts import sealing
from apps.webhooks import signing
from apps.webhooks.models import PURPOSE, Endpoint
from tests.webhooks.receivers import Receiver, listening


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers 204 until a test says otherwise."""
    with listening() as running:
        yield running


@pytest.fixture
def private(settings: Any) -> None:
    """Let webhooks call loopback."""
    settings.WEBHOOK_ALLOW_PRIVATE = True


SECRET = signing.new_secret()


@pytest.fixture
def make_endpoint(acme: Any, alice: Any) -> Callable[..., Endpoint]:
    """Return a function that adds an endpoint of acme, without asking whether its address may be called."""

    def make(url: str, **given: Any) -> Endpoint:
        values = {
            "workspace": acme,
            "created_by": alice,
            "sealed_secret": sealing.seal(SECRET, purpose=PURPOSE),
        }
        return Endpoint.objects.create(url=url, **(values | given))

    return make


@pytest.fixture
def endpoint(make_endpoint: Callable[..., Endpoint], receiver: Receiver, private: None) -> Endpoint:
    """An endpoint of acme that leads to the receiver."""
    return make_endpoint(receiver.url)
