"""System checks: settings that belong together are complete together or not there at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from apps.billing.plans import PLANS
from apps.tracking import is_dsn
from ml.catalog import CONVERTERS, DEVICES
from voicecloud.settings import env

MOST_DAYS = 32767  # what a workspace's own column can hold
S3_NAMES = ("S3_BUCKET", "S3_ENDPOINT_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
S3_STYLES = ("path", "virtual")


@register(Tags.compatibility)
def storage(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """S3: a bucket with both keys (or neither, where the machine itself has the right), and a whole address."""
    bucket, endpoint, key, secret = (env.str(name, default="") for name in S3_NAMES)
    found: list[CheckMessage] = []
    if not bucket and (endpoint or key or secret):
        found.append(Error("S3 settings are given without S3_BUCKET.", hint="Set S3_BUCKET.", id="voicecloud.E001"))
    if bool(key) != bool(secret):
        found.append(
            Error(
                "S3_ACCESS_KEY and S3_SECRET_KEY belong together.",
                hint="Set both, or neither where the machine's own role has the right.",
                id="voicecloud.E002",
            )
        )
    if endpoint and not _is_web_address(endpoint):
        found.append(
            Error(
                "S3_ENDPOINT_URL is no web address.", hint="For example https://s3.example.com.", id="voicecloud.E003"
            )
        )
    if env.str("S3_ADDRESSING_STYLE", default="path") not in S3_STYLES:
        hint = "path (https://host/bucket/file) or virtual (https://bucket.host/file); unset, it is path."
        found.append(Error("S3_ADDRESSING_STYLE is unknown.", hint=hint, id="voicecloud.E013"))
    if bucket and endpoint.startswith("http:") and settings.SITE_URL.startswith("https:"):
        hint = "Browsers send and fetch files there themselves, and refuse to from a secure page. Give the store TLS."
        found.append(Error("S3_ENDPOINT_URL is not secure, but the site is.", hint=hint, id="voicecloud.E014"))
    return found


@register(Tags.compatibility)
def redis(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Redis: an address of a kind that the client knows."""
    if urlsplit(settings.REDIS_URL).scheme in ("redis", "rediss", "unix"):
        return []
    hint = "For example redis://localhost:6379/0, or leave it unset for the embedded one."
    return [Error("REDIS_URL must begin with redis://, rediss:// or unix://.", hint=hint, id="voicecloud.E004")]


@register(Tags.compatibility)
def site(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """The site's own address, which letters and cookies depend on."""
    if _is_web_address(settings.SITE_URL):
        return []
    return [Error("SITE_URL is no web address.", hint="For example https://voice.example.com.", id="voicecloud.E005")]


@register(Tags.compatibility)
def engine(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Jobs: a converter that exists, and limits that let something through."""
    found: list[CheckMessage] = []
    if settings.DEFAULT_CONVERTER not in CONVERTERS:
        hint = f"One of {', '.join(sorted(CONVERTERS))}."
        found.append(Error("DEFAULT_CONVERTER is unknown.", hint=hint, id="voicecloud.E006"))
    if settings.ENGINE_DEVICE not in DEVICES:
        hint = f"One of {', '.join(DEVICES)}."
        found.append(Error("ENGINE_DEVICE is unknown.", hint=hint, id="voicecloud.E012"))
    for name in ("UPLOAD_MAX_BYTES", "UPLOAD_MAX_SECONDS", "JOB_HEARTBEAT_SECONDS"):
        if getattr(settings, name) <= 0:
            found.append(Error(f"{name} must be above 0.", hint="Unset it for the default.", id="voicecloud.E007"))
    for name in ("JOBS_PER_WORKSPACE", "MODEL_CACHE_SIZE"):
        if getattr(settings, name) < 0:
            found.append(Error(f"{name} must not be below 0.", hint="0 means no limit.", id="voicecloud.E020"))
    if settings.JOB_LOST_AFTER_SECONDS <= 2 * settings.JOB_HEARTBEAT_SECONDS:
        found.append(
            Error(
                "JOB_LOST_AFTER_SECONDS must be more than two heartbeats.",
                hint="Else a job that merely waits for the disk is taken for lost and runs twice.",
                id="voicecloud.E008",
            )
        )
    return found


@register(Tags.compatibility)
def api(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """The API's limits: numbers of requests."""
    names = ("API_RATE_PER_KEY", "API_RATE_PER_WORKSPACE", "API_RATE_NORMAL", "API_RATE_DEAR")
    hint = "Requests a minute; 0 means no limit."
    below = [name for name in names if getattr(settings, name) < 0]
    return [Error(f"{name} must not be below 0.", hint=hint, id="voicecloud.E022") for name in below]


@register(Tags.compatibility)
def watching(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """The error tracker's address, and prices that staff see."""
    found: list[CheckMessage] = []
    if settings.SENTRY_DSN and not is_dsn(settings.SENTRY_DSN):
        hint = "The tracker shows it as https://key@host/number; unset, nothing is sent."
        found.append(Error("SENTRY_DSN is no address of an error tracker.", hint=hint, id="voicecloud.E016"))
    for name in ("COST_PER_GPU_HOUR", "COST_PER_GB_MONTH"):
        if getattr(settings, name) < 0:
            found.append(Error(f"{name} must not be below 0.", hint="0 shows no cost.", id="voicecloud.E017"))
    return found


@register(Tags.compatibility)
def money(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Stripe: key and webhooks' secret together or neither, another server only on this machine; a plan that exists."""
    key, secret, base = settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET, settings.STRIPE_API_BASE
    found: list[CheckMessage] = []
    if bool(key) != bool(secret):
        hint = "Without the secret nothing that is paid arrives; without the key nothing can be sold. Set both or none."
        found.append(
            Error("STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET belong together.", hint=hint, id="voicecloud.E018")
        )
    if base and (urlsplit(base).hostname not in LOOPBACK or urlsplit(base).scheme != "http"):
        hint = "It is for tests and the demo: unset it, and Stripe itself is asked."
        found.append(Error("STRIPE_API_BASE is not on this machine.", hint=hint, id="voicecloud.E019"))
    if settings.DEFAULT_PLAN not in PLANS:
        hint = f"One of {', '.join(PLANS)}."
        found.append(Error("DEFAULT_PLAN is unknown.", hint=hint, id="voicecloud.E021"))
    if settings.SITE_URL.startswith("https:") and (base or key.startswith(("sk_test_", "rk_test_"))):
        hint = "Whoever buys pays nothing and gets the plan. Set the live key when the site is public."
        found.append(Warning("STRIPE_SECRET_KEY is a test key.", hint=hint, id="voicecloud.W018"))
    return found


@register(Tags.compatibility)
def retention(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """How long things are kept: a number of days that a date can bear."""
    if 0 <= settings.RETENTION_DAYS <= MOST_DAYS:
        return []
    hint = f"From 1 to {MOST_DAYS} days, or 0 to keep them for ever."
    return [Error("RETENTION_DAYS is no length of time.", hint=hint, id="voicecloud.E040")]


@register(Tags.security, deploy=True)
def production(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """What works on a desk but not for strangers."""
    found: list[CheckMessage] = []
    if settings.JOBS_INLINE:
        found.append(Error("JOBS_INLINE runs jobs inside requests.", hint="Unset it.", id="voicecloud.E009"))
    if settings.WEBHOOK_ALLOW_PRIVATE:
        found.append(
            Warning(
                "WEBHOOK_ALLOW_PRIVATE lets every workspace's admins send requests into your own network.",
                hint="Unset it unless all of them may know and call every machine there.",
                id="voicecloud.W015",
            )
        )
    if settings.ACCOUNT_EMAIL_VERIFICATION != "mandatory":
        found.append(
            Warning(
                "EMAIL_URL is not set: letters are printed and addresses are not proved.",
                hint="For example smtp+tls://user:password@mail.example.com:587.",
                id="voicecloud.W001",
            )
        )
    return found


def _is_web_address(value: str) -> bool:
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.hostname)
