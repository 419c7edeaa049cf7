"""What every template may say of the site itself."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, str | int | bool]:
    """Return the site's name and address, the day counts that pages promise, and whether it sells plans."""
    return {
        "SITE_NAME": settings.SITE_NAME,
        "SITE_URL": settings.SITE_URL,
        "invitation_days": settings.INVITATION_DAYS,
        "sells": bool(settings.STRIPE_SECRET_KEY),
        "grace_days": settings.WORKSPACE_GRACE_DAYS,
    }
