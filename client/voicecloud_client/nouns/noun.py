"""What all nouns share."""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

from voicecloud_client.transport import Transport

Code = UUID | str
"""The id of something, as the API answers it."""


class Noun:
    """Methods about one kind of thing."""

    def __init__(self, wire: Transport) -> None:
        self._wire = wire


def at(*parts: object) -> str:
    """Return an address below the API's own; each part is one step of the path, whatever is in it."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)
