"""Faults of ours, told to an error tracker that speaks Sentry's protocol. Without SENTRY_DSN there is none.

What the log records as an error is sent, under the ids that the log has, and with nothing about people: no address of
the request, no header, no variable, no argument of the message; mail addresses in an exception's words are hidden.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from apps import logs
from apps.errors import Refused
from ml.errors import AudioError, Cancelled

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

FLUSH_SECONDS = 2
# An expected no is no fault, wherever it is logged.
EXPECTED = (Refused, AudioError, Cancelled)
# Monitors ask every few seconds: what is down is told by them, and would be told here each time.
QUIET = ("apps.pages.health", "apps.pages.gathered")
_ADDRESS = re.compile(r"[^\s@'\"()=<>]+@[^\s@'\"()<>]+")


def is_dsn(text: str) -> bool:
    """Say whether this is an address of Sentry's form: https://key@host/project."""
    try:
        parts = urlsplit(text)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError:
        return False
    project = parts.path.rsplit("/", 1)[-1]
    return parts.scheme in ("http", "https") and bool(
        parts.hostname and parts.username and project.isdecimal() and port_is_number
    )


def start(dsn: str, *, environment: str) -> None:
    """Send what is logged as an error to ``dsn``, from a thread of its own. Nothing happens when it is malformed:
    the system checks say so."""
    if not is_dsn(dsn):
        return
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration, ignore_logger

    for name in QUIET:
        ignore_logger(name)
    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            LoggingIntegration(level=None, event_level=logging.ERROR),
            DedupeIntegration(),
            ExcepthookIntegration(),
            AtexitIntegration(callback=lambda pending, timeout: None),
        ],
        shutdown_timeout=FLUSH_SECONDS,
        before_send=_without_people,
    )


def flush() -> None:
    """Wait up to two seconds until what was caught is sent: for a process that ends without its farewells."""
    sentry = sys.modules.get("sentry_sdk")
    if sentry is not None:
        sentry.flush(timeout=FLUSH_SECONDS)


def _without_people(event: Event, hint: Hint) -> Event | None:
    raised = hint.get("exc_info")
    if raised is not None and issubclass(raised[0], EXPECTED):
        return None
    record = hint.get("log_record")
    tags: dict[str, Any] = {"error_id": getattr(record, "error_id", None) or logs.request_id.get()}
    tags |= {"request_id": logs.request_id.get(), "job": logs.job.get(), "workspace": logs.workspace.get()}
    event["tags"] = {name: value for name, value in tags.items() if value != logs.NOBODY}
    for name in ("request", "user", "extra", "breadcrumbs", "modules"):
        event.pop(name, None)  # type: ignore[misc]  # each of them may be missing
    if record is not None:
        # The words without what was put into them: of a request that failed, that is its address.
        event["logentry"] = {"message": str(record.msg)}
    for each in (event.get("exception") or {}).get("values") or []:
        if each.get("value"):
            each["value"] = _ADDRESS.sub("[address]", str(each["value"]))
    return event
