"""Where a workspace's events go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from voicecloud_client.decoding import given
from voicecloud_client.nouns.noun import Code, Noun, at
from voicecloud_client.workspace_models import Delivery, Endpoint, Replayed, Secrets


class Webhooks(Noun):
    """Endpoints: addresses to which events are sent."""

    def list(self) -> Iterator[Endpoint]:
        """Yield the workspace's endpoints."""
        return self._wire.items(Endpoint, at("webhooks"))

    def create(self, url: str, *, description: str = "", events: Sequence[str] | None = None) -> Endpoint:
        """Add an endpoint for these events, or for all; its secret is told by ``secrets``."""
        return self._wire.json(
            Endpoint, "POST", at("webhooks"), body=given(url=url, description=description, events=events)
        )

    def get(self, endpoint: Code) -> Endpoint:
        """Return one endpoint."""
        return self._wire.json(Endpoint, "GET", at("webhooks", endpoint))

    def change(
        self,
        endpoint: Code,
        *,
        url: str | None = None,
        description: str | None = None,
        events: Sequence[str] | None = None,
        enabled: bool | None = None,
    ) -> Endpoint:
        """Change an endpoint, or switch it on or off."""
        body = given(url=url, description=description, events=events, enabled=enabled)
        return self._wire.json(Endpoint, "PATCH", at("webhooks", endpoint), body=body)

    def delete(self, endpoint: Code) -> None:
        """Remove an endpoint with its log."""
        self._wire.send("DELETE", at("webhooks", endpoint))

    def secrets(self, endpoint: Code) -> Secrets:
        """Return the secrets that sign."""
        return self._wire.json(Secrets, "POST", at("webhooks", endpoint, "secrets"))

    def rotate(self, endpoint: Code) -> Secrets:
        """Give an endpoint a new secret; for a day the earlier one signs too."""
        return self._wire.json(Secrets, "POST", at("webhooks", endpoint, "rotate"))

    def test(self, endpoint: Code) -> Delivery:
        """Send a test event."""
        return self._wire.json(Delivery, "POST", at("webhooks", endpoint, "test"))

    def replay_failed(self, endpoint: Code, *, since: datetime) -> Replayed:
        """Send again what failed for good since a time, which needs a time zone."""
        return self._wire.json(Replayed, "POST", at("webhooks", endpoint, "replay-failed"), body=given(since=since))

    def deliveries(self, endpoint: Code, *, status: str | None = None) -> Iterator[Delivery]:
        """Yield what was sent to an endpoint, or is to be."""
        return self._wire.items(Delivery, at("webhooks", endpoint, "deliveries"), given(status=status))


class Deliveries(Noun):
    """Events on their way to an endpoint."""

    def get(self, delivery: Code) -> Delivery:
        """Return one delivery."""
        return self._wire.json(Delivery, "GET", at("deliveries", delivery))

    def replay(self, delivery: Code) -> Delivery:
        """Send a delivery again, at once."""
        return self._wire.json(Delivery, "POST", at("deliveries", delivery, "replay"))
