from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elevenlabs.client import ElevenLabs

from tests.api.sdk.calls import ONCE, SECONDS, consent
from tests.api.sdk.keyring import Keys, generated, new_workspace
from tests.stack import Stack


@pytest.fixture(scope="session")
def keys(stack: Stack) -> Keys:
    """Keys of the workspace that these tests are about."""
    return new_workspace(stack, "elevens")


@pytest.fixture(scope="session")
def client(stack: Stack, keys: Keys) -> ElevenLabs:
    """The SDK with nothing changed but its base URL."""
    return ElevenLabs(base_url=stack.url, api_key=keys.admin)


@pytest.fixture(scope="session")
def speaker(tmp_path_factory: Any) -> list[Path]:
    """Two files of somebody who speaks."""
    folder = tmp_path_factory.mktemp("speaker")
    return [generated(folder / f"{number}.wav", 9.0, seed=number) for number in (1, 2)]


@pytest.fixture(scope="session")
def source(tmp_path_factory: Any) -> bytes:
    """Two seconds of somebody else, at 24 kHz."""
    return generated(tmp_path_factory.mktemp("source") / "source.wav", SECONDS, seed=9).read_bytes()


@pytest.fixture(scope="session")
def clone(client: ElevenLabs, speaker: list[Path]) -> Callable[[str], str]:
    """Return a function: a name -> the id of a voice that was cloned under it."""

    def make(name: str) -> str:
        files = [path.open("rb") for path in speaker]
        made = client.voices.ivc.create(name=name, files=files, labels=consent(client, name), request_options=ONCE)
        return made.voice_id

    return make


@pytest.fixture(scope="session")
def ada(clone: Callable[[str], str]) -> str:
    """The id of a voice that is ready."""
    return clone("Ada")
