"""What a browser gets that asks the site for a file: from the site itself, or from the store that it is sent on to."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Received:
    """An answer with its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def received(answer: Any) -> Received:
    """Return what the test client's answer leads to; a range that was asked of the site is asked of the store too."""
    if answer.status_code != 302:
        return Received(answer.status_code, answer.headers, b"".join(answer))
    wanted = answer.wsgi_request.headers.get("Range")
    request = urllib.request.Request(answer["Location"], headers={"Range": wanted} if wanted else {})
    with urllib.request.urlopen(request, timeout=30) as sent:
        return Received(sent.status, sent.headers, sent.read())
