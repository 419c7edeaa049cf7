"""The way in: ``Client(url, key)``, and from there by noun."""

from __future__ import annotations

from types import TracebackType

import httpx

from voicecloud_client.nouns.jobs import Artifacts, Jobs
from voicecloud_client.nouns.voices import Consents, Recordings, Takes, Uploads, Voices
from voicecloud_client.nouns.webhooks import Deliveries, Webhooks
from voicecloud_client.nouns.work import Batches, Conversions, Models, Sources
from voicecloud_client.nouns.workspace import Invitations, Members, System, UsageNoun, WorkspaceNoun
from voicecloud_client.transport import Transport


class Client:
    """One workspace of one site, as the key ``key`` opens it; use it in a ``with`` block, or ``close`` it.

    ``timeout`` is how many seconds may pass without a byte, ``retries`` how often a request that failed on the way is
    tried again. ``transport`` replaces the way to the site, for example by one through a proxy of your own. Every
    method raises VoicecloudError or one of its kinds (``voicecloud_client.errors``).
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float = 60.0,
        retries: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        wire = self._wire = Transport(url, key, timeout=timeout, retries=retries, transport=transport)
        self.workspace = WorkspaceNoun(wire)
        self.members = Members(wire)
        self.invitations = Invitations(wire)
        self.voices = Voices(wire)
        self.recordings = Recordings(wire)
        self.uploads = Uploads(wire)
        self.takes = Takes(wire)
        self.consents = Consents(wire)
        self.models = Models(wire)
        self.sources = Sources(wire)
        self.conversions = Conversions(wire)
        self.batches = Batches(wire)
        self.jobs = Jobs(wire)
        self.artifacts = Artifacts(wire)
        self.usage = UsageNoun(wire)
        self.webhooks = Webhooks(wire)
        self.deliveries = Deliveries(wire)
        self.system = System(wire)

    def close(self) -> None:
        """Close its connections."""
        self._wire.http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
