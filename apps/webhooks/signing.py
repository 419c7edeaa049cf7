"""Signatures after the Standard Webhooks specification 1.0: any of its client libraries verifies them unchanged."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """Return an unguessable secret (256 bits) in the form that the client libraries take."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature(secret: str, *, message: str, timestamp: int, body: bytes) -> str:
    """Return ``v1,<base64>``: HMAC-SHA256 over ``<message>.<timestamp>.<body>``; ``timestamp`` in Unix seconds.

    The id of the message is signed too, so that nobody can send a recorded body again under a new one.
    """
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(secrets_in_force: Iterable[str], *, message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message, with one signature for each secret that is in force."""
    signatures = [signature(each, message=message, timestamp=timestamp, body=body) for each in secrets_in_force]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
