"""What browsers call the containers that ``ml.probe`` finds, and what a user's file may be called here."""

from __future__ import annotations

import re
import unicodedata

CONTENT_TYPES = {
    "wav": "audio/wav",
    "w64": "audio/x-w64",
    "aiff": "audio/aiff",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "mp4": "audio/mp4",
    "webm": "audio/webm",
}
_LONGEST_NAME = 200
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def content_type_of(container: str) -> str:
    """Return the media type of one of ``ml.probe``'s containers. Raises KeyError for an unknown one."""
    return CONTENT_TYPES[container]


def shown_name(name: str) -> str:
    """Return the last part of a user's file name, fit to be shown: no folders, no control or direction characters."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    cleaned = _NOT_SHOWN.sub("", last).strip()[:_LONGEST_NAME]
    return cleaned if cleaned.strip(".") else "recording"
