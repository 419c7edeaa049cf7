"""The letter about an endpoint that was switched off."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Q
from django.urls import reverse

from apps.accounts.mail import webhook_disabled_letter
from apps.accounts.models import Membership, Role
from apps.webhooks.models import Endpoint


def tell(endpoint: Endpoint, reason: str) -> int:
    """Write to the workspace's owner and to who added the endpoint, if still a member; say to how many."""
    workspace = endpoint.workspace
    members = Membership.objects.filter(workspace=workspace).select_related("user")
    concerned = members.filter(Q(role=Role.OWNER) | Q(user=endpoint.created_by_id))
    link = f"{settings.SITE_URL}{reverse('webhooks:detail', args=[workspace.slug, endpoint.code])}"
    context = {"workspace": workspace, "address": endpoint.url, "reason": reason, "link": link}
    return sum(webhook_disabled_letter(membership.user, context) for membership in concerned)
