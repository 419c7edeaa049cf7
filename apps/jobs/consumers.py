"""Job progress over WebSocket: an id arrives, the row is read afresh, its card goes to the page."""

from __future__ import annotations

from datetime import timedelta

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.template.loader import render_to_string
from django.utils import timezone

from apps.accounts.access import membership_of
from apps.accounts.models import Membership
from apps.jobs.events import JobChanged, group_of
from apps.jobs.models import UNFINISHED, Job

# What ended while the page was on its way to the browser is part of the first message.
SNAPSHOT_SECONDS = 5
SNAPSHOT_CARDS = 50
GONE = 4404  # the page's user is no member, or not any more


class JobConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """One page's wire to its workspace's jobs. It only sends; what the page says is not read."""

    group = ""

    async def connect(self) -> None:
        """Let a member in, join the group first and send where all jobs stand then, so that nothing falls between."""
        membership = await self._membership()
        if membership is None:
            await self.close(GONE)
            return
        self.group = group_of(membership.workspace_id)
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        cards = await self._snapshot(membership)
        if cards:
            await self.send(text_data=cards)

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        if self.group:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def job_changed(self, message: JobChanged) -> None:
        """Send the job's card as it is now; close when the user has left the workspace since."""
        membership = await self._membership()
        if membership is None:
            await self.close(GONE)
            return
        card = await self._card(membership, message["job"])
        if card:
            await self.send(text_data=card)

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def _membership(self) -> Membership | None:
        user = self.scope["user"]
        if user.is_authenticated:
            user.refresh_from_db(fields=["is_active"])
            if not user.is_active:
                return None
        return membership_of(user, self.scope["url_route"]["kwargs"]["slug"])

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def _snapshot(self, membership: Membership) -> str:
        since = timezone.now() - timedelta(seconds=SNAPSHOT_SECONDS)
        jobs = membership.workspace.jobs
        rows = (jobs.filter(status__in=UNFINISHED) | jobs.filter(ended_at__gte=since))[:SNAPSHOT_CARDS]
        return "".join(_render(membership, job) for job in rows)

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def _card(self, membership: Membership, job_pk: int) -> str:
        job = membership.workspace.jobs.filter(pk=job_pk).first()
        return _render(membership, job) if job else ""


def _render(membership: Membership, job: Job) -> str:
    request = {"workspace": membership.workspace, "membership": membership}
    return render_to_string("jobs/_job.html", {"job": job, "request": request, "oob": True})
