"""What the site says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.http import HttpRequest

from apps.api.auth import ApiRequest
from apps.api.door import Routes
from apps.api.schemas.system import Choice, Health, Info, Limits
from apps.api.streams import STREAMS_MAX
from apps.api.version import version
from apps.billing.services.subscriptions import plan_of
from apps.studio.batches import ITEMS_MAX
from apps.studio.options import FORMATS, SAMPLE_RATES
from apps.webhooks.catalog import EVENTS
from ml.catalog import F0_METHODS, PRECISIONS, PRESETS, SCALES, Entry

routes = Routes("system")


@routes.read("/health", Health, role=None)
def health(request: HttpRequest) -> Health:
    """Whether the site answers."""
    return Health(ok=True)


def _choices(entries: Mapping[str, Entry]) -> list[Choice]:
    return [Choice(name=name, label=entry.label, description=entry.description) for name, entry in entries.items()]


@routes.read("/info", Info, role=None)
def info(request: HttpRequest) -> Info:
    """What the site is and what can be chosen."""
    return Info(
        name=settings.SITE_NAME,
        version=version(),
        engine=settings.DEFAULT_CONVERTER,
        formats=[Choice(name=name, label=entry.label) for name, entry in FORMATS.items()],
        sample_rates=list(SAMPLE_RATES),
        presets=_choices(PRESETS),
        f0_methods=_choices(F0_METHODS),
        precisions=_choices(PRECISIONS),
        scales=list(SCALES),
        webhook_events=[Choice(name=name, label=meaning) for name, meaning in EVENTS.items()],
    )


@routes.read("/limits", Limits)
def limits(request: ApiRequest) -> Limits:
    """What the site and the workspace's plan take at most."""
    plan = plan_of(request.caller.workspace)
    return Limits(
        upload_bytes=settings.UPLOAD_MAX_BYTES,
        upload_seconds=settings.UPLOAD_MAX_SECONDS,
        request_bytes=settings.REQUEST_MAX_BYTES,
        page=100,
        batch=ITEMS_MAX,
        event_streams=STREAMS_MAX,
        plan=plan.slug,
        plan_limits=dict(plan.limits),
        formats=list(plan.formats),
    )
