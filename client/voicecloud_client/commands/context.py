"""What every command is given, and what several of them do."""

from __future__ import annotations

import argparse
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

from voicecloud_client.client import Client
from voicecloud_client.errors import VoicecloudError
from voicecloud_client.models import Artifact, Job, Voice
from voicecloud_client.terminal import Bar, Screen
from voicecloud_client.transport import Progress

_LONGEST_NAME = 255  # bytes, in most file systems
_LONGEST_SUFFIX = 20  # characters; what is longer is no suffix
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UsageError(VoicecloudError):
    """The command line says something that cannot be."""


@dataclass(frozen=True)
class Context:
    """One call of the command line."""

    client: Client
    screen: Screen
    given: argparse.Namespace


Command = Callable[[Context], int]
"""Does it; returns the exit status."""


def voice_of(client: Client, named: str) -> Voice:
    """Return the voice of a name or id. Raises VoicecloudError when there is none, or more than one."""
    try:
        return client.voices.get(UUID(named))
    except ValueError:
        pass  # a name
    found = [voice for voice in client.voices.list() if voice.name.casefold() == named.strip().casefold()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise VoicecloudError(f"There is no voice “{named}”; see: voicecloud voices list")
    codes = ", ".join(str(voice.id) for voice in found)
    raise VoicecloudError(f"Several voices are called “{named}”; name one by its id: {codes}")


def wait_for(context: Context, job: UUID, label: str) -> Job:
    """Return a job when it is done, with a bar. Raises JobFailed; Ctrl-C says how to come back."""
    with Bar(label) as bar:
        try:
            return context.client.jobs.wait(job, progress=bar.job)
        except KeyboardInterrupt:
            bar.__exit__()
            context.screen.tell(f"The job goes on. Come back to it: voicecloud jobs watch {job}")
            context.screen.tell(f"Or stop it: voicecloud jobs cancel {job}")
            raise


def save(client: Client, artifact: Artifact, folder: Path, *, progress: Progress | None = None) -> Path:
    """Save a file in a folder, which is made when it is missing, beside what is there already; return where."""
    folder.mkdir(parents=True, exist_ok=True)
    return client.artifacts.download(
        artifact.id, free_place(folder, artifact.name), sha256=artifact.sha256, progress=progress
    )


def free_place(folder: Path, name: str) -> Path:
    """Return a path in ``folder`` that nothing has yet.

    Of ``name`` only its last part counts, without control characters, made neither hidden nor too long.
    """
    last = Path(name.replace("\\", "/")).name
    shown = "".join(character for character in last if unicodedata.category(character)[0] != "C")
    wanted = Path(shown.lstrip(". ") or "result")
    number, path = 1, folder / _shortened(wanted, "")
    while path.exists():
        number += 1
        path = folder / _shortened(wanted, f" ({number})")
    return path


def _shortened(name: Path, mark: str) -> str:
    """Return a file name with ``mark`` before its suffix, cut before both where it is too long."""
    suffix = name.suffix if len(name.suffix) <= _LONGEST_SUFFIX else ""
    end = f"{mark}{suffix}".encode()
    start = name.name.removesuffix(suffix).encode()[: _LONGEST_NAME - len(end)]
    return start.decode(errors="ignore") + end.decode()


def some_file(text: str) -> Path:
    """Return a path to a file, as argparse takes it."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path
