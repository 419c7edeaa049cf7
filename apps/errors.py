"""The ground floor: the one exception for an expected no. Imports nothing, importable by all."""

from __future__ import annotations


class Refused(Exception):
    """An expected no, told to the user in one sentence that says what to do.

    ``voicecloud.middleware`` turns it into a page, a fragment or JSON with ``status``; everything else that
    raises is our own fault and is answered generally.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
