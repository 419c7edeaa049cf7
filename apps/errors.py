"""The ground floor: the one exception for an expected no. Imports nothing, importable by all."""

from __future__ import annotations

from collections.abc import Mapping


class Refused(Exception):
    """An expected no, told to the user in one sentence that says what to do.

    ``voicecloud.middleware`` turns it into a page, a fragment or JSON with ``status``; everything else that
    raises is our own fault and is answered generally. ``headers`` go with the answer, in whatever form it is.
    """

    def __init__(self, message: str, *, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.headers = dict(headers or {})
