"""Which site and key the command line uses: options, then the environment, then what ``login`` kept."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from voicecloud_client.errors import VoicecloudError


class NoCredentials(VoicecloudError):
    """It is not known which site or key to use."""


@dataclass(frozen=True)
class Credentials:
    """A site and the key that opens a workspace there."""

    url: str
    key: str = field(repr=False)


def place() -> Path:
    """Return where they are kept."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "voicecloud" / "credentials.json"


def keep(credentials: Credentials) -> Path:
    """Keep them for the next call, readable by their owner only; return where. Raises OSError."""
    path = place()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"url": credentials.url, "key": credentials.key}, file)
        part.replace(path)
    except BaseException:
        part.unlink()  # it has the key, and nobody would look for it
        raise
    return path


def kept() -> Credentials | None:
    """Return what was kept. Raises VoicecloudError when it cannot be read."""
    path = place()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Credentials(url=str(found["url"]), key=str(found["key"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VoicecloudError(f"{path} cannot be read; log in again with: voicecloud login") from error


def chosen(url: str | None, key: str | None) -> Credentials:
    """Return what to use. Raises NoCredentials with what to do; a kept key is never sent to another site."""
    url = url or os.environ.get("VOICECLOUD_URL")
    key = key or os.environ.get("VOICECLOUD_KEY")
    if url and key:
        return Credentials(url, key)
    stored = kept()
    if stored is None:
        raise NoCredentials("Log in first: voicecloud login. Or set VOICECLOUD_URL and VOICECLOUD_KEY.")
    if key:
        return Credentials(stored.url, key)
    if url and url.rstrip("/") != stored.url.rstrip("/"):
        raise NoCredentials(f"The key that is kept is for {stored.url}. Give a key for {url} too, or log in there.")
    return stored
