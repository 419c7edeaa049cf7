"""What every template may say of the site itself."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, str | int]:
    """Return the site's name and address, and the day counts that pages promise."""
    return {
        "SITE_NAME": settings.SITE_NAME,
        "SITE_URL": settings.SITE_URL,
        "invitation_days": settings.INVITATION_DAYS,
        "grace_days": settings.WORKSPACE_GRACE_DAYS,
    }
