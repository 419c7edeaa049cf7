"""The version of the site, as the changelog tells it: the newest release, with a mark when there is more since."""

from __future__ import annotations

import re
from functools import cache

from django.conf import settings

_RELEASE = re.compile(r"^## (\d+\.\d+\.\d+)", re.MULTILINE)


@cache
def version() -> str:
    """Return for example ``0.1.0``, or ``0.1.0+`` when the changelog has news under Unreleased."""
    text = (settings.BASE_DIR / "CHANGELOG.md").read_text(encoding="utf-8")
    released = _RELEASE.search(text)
    if released is None:
        return "0.0.0"
    return released.group(1) + ("+" if "## Unreleased" in text[: released.start()] else "")
