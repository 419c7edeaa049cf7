"""Where django-allauth asks us."""

from __future__ import annotations

import logging
import smtplib
from contextlib import suppress
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from apps.accounts import sealing
from apps.accounts.auditing import audit_everywhere
from apps.accounts.models import User
from apps.accounts.services import create_workspace
from apps.errors import Refused

logger = logging.getLogger(__name__)
PURPOSE = "second factor"
# What allauth tells a person by letter about their log-in, and how the audit logs call it.
AUDITED = {
    "account/email/password_changed": "password.changed",
    "account/email/password_reset": "password.reset",
    "account/email/password_set": "password.set",
    "account/email/email_changed": "email.changed",
    "account/email/email_deleted": "email.removed",
    "mfa/email/totp_activated": "second_factor.on",
    "mfa/email/totp_deactivated": "second_factor.off",
    "mfa/email/recovery_codes_generated": "recovery_codes.made",
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types for mypy
    """Gives each person who signs up a personal workspace, and signs the letters."""

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """Save the person and their workspace together: there is never one without the other."""
        with transaction.atomic():
            super().save_user(request, user, form, commit=commit)
            if commit:
                create_workspace(user=user, name=user.email.split("@")[0][:80], personal=True)
        return user

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        """Write a log-in down, and by what it was: a password, a code, a second factor."""
        if not kwargs.get("signup"):
            by = [record["method"] for record in get_authentication_records(request, user)]
            audit_everywhere(user=user, action="member.logged_in", data={"by": by})
        response: HttpResponse = super().post_login(request, user, **kwargs)
        return response

    def send_notification_mail(self, template_prefix: str, user: User, *args: Any, **kwargs: Any) -> None:
        """Write down what was changed about a person's log-in, and tell them.

        The change stands whether or not the letter goes out.
        """
        audit_everywhere(user=user, action=AUDITED.get(template_prefix, template_prefix.rpartition("/")[2]))
        with suppress(Refused):  # logged where it was raised
            super().send_notification_mail(template_prefix, user, *args, **kwargs)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send one of allauth's letters, signed with the site's own name and address.

        Raises Refused when the mail server fails: what the letter was for cannot go on, but can be tried again.
        """
        site = {"SITE_NAME": settings.SITE_NAME, "SITE_URL": settings.SITE_URL}
        try:
            super().send_mail(template_prefix, email, {**site, **context})
        except (OSError, smtplib.SMTPException) as error:
            logger.exception("The letter %s could not be sent", template_prefix)
            raise Refused("The letter could not be sent just now. Try again in a few minutes.", status=503) from error


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth ships no types for mypy
    """Keeps second-factor secrets encrypted, so that a copy of the database alone lets nobody in."""

    def encrypt(self, text: str) -> str:
        """Return ``text`` encrypted under a key made from the site's secret key."""
        return sealing.seal(text, purpose=PURPOSE)

    def decrypt(self, encrypted_text: str) -> str:
        """Return the text again; secrets of an earlier key work while it stands in ``SECRET_KEY_FALLBACKS``."""
        return sealing.unseal(encrypted_text, purpose=PURPOSE)
