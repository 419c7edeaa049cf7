"""Where django-allauth asks us."""

from __future__ import annotations

import logging
import smtplib
from contextlib import suppress
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from apps.accounts import sealing
from apps.accounts.models import User
from apps.accounts.services import create_workspace
from apps.errors import Refused

logger = logging.getLogger(__name__)
PURPOSE = "second factor"


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types for mypy
    """Gives each person who signs up a personal workspace, and signs the letters."""

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """Save the person and their workspace together: there is never one without the other."""
        with transaction.atomic():
            super().save_user(request, user, form, commit=commit)
            if commit:
                create_workspace(user=user, name=user.email.split("@")[0][:80], personal=True)
        return user

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """Tell a person what was changed about their log-in; the change stands whether or not the letter goes out."""
        with suppress(Refused):  # logged where it was raised
            super().send_notification_mail(*args, **kwargs)

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
