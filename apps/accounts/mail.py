"""Every letter that the site itself sends, one function each. What concerns log-in is sent by allauth."""

from __future__ import annotations

import logging
import smtplib
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from apps.accounts.models import Invitation, User, Workspace

logger = logging.getLogger(__name__)


def invitation_letter(invitation: Invitation, link: str) -> bool:
    """Send the link into a workspace; say whether the mail server took the letter."""
    context = {"invitation": invitation, "workspace": invitation.workspace, "link": link}
    return _send("invitation", invitation.email, context)


def new_owner_letter(workspace: Workspace, owner: User, by: User) -> bool:
    """Tell a member that the workspace is theirs now."""
    return _send("new-owner", owner.email, {"workspace": workspace, "by": by})


def removed_letter(workspace: Workspace, user: User) -> bool:
    """Tell somebody that they are no longer a member."""
    return _send("removed", user.email, {"workspace": workspace})


def deleted_letter(workspace: Workspace, owner: User) -> bool:
    """Tell the owner until when a deleted workspace can be restored."""
    return _send("deleted", owner.email, {"workspace": workspace})


def ready_letter(user: User, context: dict[str, Any]) -> bool:
    """Tell somebody that what they started is ready, or why it is not; `context` has title, done, sentence and link."""
    return _send("ready", user.email, {"user": user, **context})


def webhook_disabled_letter(user: User, context: dict[str, Any]) -> bool:
    """Tell a member that an endpoint was switched off; `context` has workspace, address, reason and link."""
    return _send("webhook-disabled", user.email, context)


def expiry_letter(workspace: Workspace, owner: User, facts: dict[str, Any]) -> bool:
    """Tell the owner what expires soon; ``facts`` has count, first (the first moment) and link."""
    return _send("expiry", owner.email, {"workspace": workspace, **facts})


def usage_letter(user: User, facts: dict[str, Any]) -> bool:
    """Tell how much of an allowance is used; ``facts`` has workspace, sentence, is_all, meter, link and sells."""
    return _send("usage", user.email, facts)


def erased_letter(email: str, facts: dict[str, Any]) -> bool:
    """Tell who was the owner what has been removed; ``facts`` has report and rows (label, count)."""
    return _send("erased", email, facts)


def _send(name: str, to: str, context: dict[str, Any]) -> bool:
    """Send ``templates/emails/<name>-*`` to one address; a mail server that fails is logged and answered False."""
    context = {"SITE_NAME": settings.SITE_NAME, "SITE_URL": settings.SITE_URL, **context}
    subject = " ".join(render_to_string(f"emails/{name}-subject.txt", context).split())
    letter = EmailMultiAlternatives(subject, render_to_string(f"emails/{name}-body.txt", context), to=[to])
    letter.attach_alternative(render_to_string(f"emails/{name}-body.html", context), "text/html")
    try:
        letter.send()
    except (OSError, smtplib.SMTPException):
        logger.exception("The letter %s could not be sent", name)
        return False
    return True
