"""Keys that open nothing are counted by the address they come from; an address that sends many of them is put off.

Guessing a key is hopeless (256 random bits), so this is about load and noise, and it must not lock out programs behind
the same address: a key that has opened a workspace within ``KNOWN_FOR`` is looked up however many others fail beside
it. An address that is put off is refused before the database is asked, until its failures have drained away, one each
``SECONDS / FAILURES`` seconds. The count is in Redis; when that is away nobody is put off, and it is logged.

A key itself is written nowhere: what a program sent is logged as its first letters, and only when it has the form of
our keys, as else it may be somebody's password.
"""

from __future__ import annotations

import ipaddress
import logging
import re

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from redis.exceptions import RedisError

from apps.accounts import keys
from apps.api import limits
from apps.api.limits import Bucket
from apps.errors import Refused
from apps.jobs import counters

log = logging.getLogger(__name__)
FAILURES = 20
SECONDS = 300
KNOWN_FOR = 30 * 86_400
UNKNOWN_ADDRESS = "unknown"
_FORM = re.compile(rf"{keys.PREFIX}[A-Za-z0-9_-]{{43}}")


def admit(request: HttpRequest, token: str) -> None:
    """Raise Refused (429, with ``Retry-After``) for an address that was put off, unless the key is a known one."""
    level = limits.ask([_bucket(address_of(request))], count=0).refusing
    if level is None or _is_known(token):
        return
    counters.count("api_key_failures")
    raise Refused(
        f"Too many requests with keys that open nothing came from your address. Go on in {level.wait} s.",
        status=429,
        headers={"Retry-After": str(level.wait)},
    )


def failed(request: HttpRequest, token: str) -> None:
    """Count and log a key that opened nothing."""
    address = address_of(request)
    counters.count("api_key_failures")
    log.warning("API key refused: %s from %s", shown(token), address)
    try:
        limits.wire(settings.REDIS_URL).delete(_known(token))
    except (RedisError, OSError):
        limits.complain()
    verdict = limits.ask([_bucket(address)], always=True)
    if verdict.levels and not verdict.levels[0].remaining:
        log.warning("API keys from %s are put off: more than %d failed in %d s", address, FAILURES, SECONDS)


def accepted(token: str) -> None:
    """Remember that a key opens a workspace, or was made just now."""
    try:
        limits.wire(settings.REDIS_URL).set(_known(token), 1, ex=KNOWN_FOR)
    except (RedisError, OSError):
        limits.complain()


def shown(token: str) -> str:
    """Return what may be logged of what a program sent as its key."""
    return f"{token[: keys.START_LETTERS]}…" if _FORM.fullmatch(token) else "of another form"


def address_of(request: HttpRequest) -> str:
    """Return whom to count for: the client's address as log-ins see it, of IPv6 the network that one customer gets."""
    try:
        address = ipaddress.ip_address(get_adapter().get_client_ip(request))
    except (PermissionDenied, ValueError):
        return UNKNOWN_ADDRESS  # no address comes over a socket of this machine
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _bucket(address: str) -> Bucket:
    return Bucket("address", f"voicecloud:api-failures:{address}", FAILURES, SECONDS)


def _known(token: str) -> str:
    return f"voicecloud:api-known:{keys.key_hash(token)}"


def _is_known(token: str) -> bool:
    try:
        return bool(limits.wire(settings.REDIS_URL).exists(_known(token)))
    except (RedisError, OSError):
        limits.complain()
        return True
