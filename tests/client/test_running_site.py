"""The client against a running site whose answers get lost: nothing is done twice, nothing is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.sounds import tone, wav_bytes
from tests.stack import Stack
from voicecloud_client import Client
from voicecloud_client.nouns import voices as voices_noun

SEED = """
from apps.accounts import keys, services
from apps.accounts.models import User
user = User.objects.create_user(f"{name}@example.org", "x")
workspace = services.create_workspace(user=user, name=name)
result = keys.issue(membership=workspace.memberships.get(), name="client", scope="admin")[1]
"""
SOUND = wav_bytes(tone(3.0))


class Cut(httpx.SyncByteStream):
    """The first bytes of an answer, and then a lost connection."""

    def __init__(self, answer: httpx.Response, size: int) -> None:
        self.answer, self.size = answer, size

    def __iter__(self) -> Iterator[bytes]:
        yield self.answer.read()[: self.size]
        raise httpx.ReadError("cut")

    def close(self) -> None:
        self.answer.close()


class Losing(httpx.HTTPTransport):
    """Lets each request arrive; each first answer to one of a method is lost, files from the middle on."""

    def __init__(self, *methods: str) -> None:
        super().__init__()
        self.methods, self.lost = methods, set[tuple[str, str]]()
        self.sent: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        self.sent.append(f"{request.method} {answer.status_code}")
        about = (request.method, request.url.path)
        if request.method not in self.methods or about in self.lost:
            return answer
        self.lost.add(about)
        if answer.headers.get("Content-Disposition"):
            return httpx.Response(answer.status_code, headers=answer.headers, stream=Cut(answer, 100_000))
        answer.read()
        raise httpx.ReadError("lost")


@pytest.fixture
def client_by(stack: Stack, request: pytest.FixtureRequest) -> Callable[..., Client]:
    """Return a function: transport -> a client of a new workspace."""
    key: str = stack.django(SEED, name=request.node.name[:60])
    return lambda transport: Client(stack.url, key, transport=transport)


@pytest.mark.slow
def test_what_is_made_is_made_once_though_each_answer_was_lost(client_by: Any, tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(SOUND)
    with client_by(wire := Losing("POST")) as client:
        voice = client.voices.create("Ada")
        recording = client.recordings.add(voice.id, tmp_path / "one.wav")
        assert [each.id for each in client.voices.list()] == [voice.id]
        assert [each.id for each in client.recordings.list(voice.id)] == [recording.id]
        assert wire.sent[:4] == ["POST 201"] * 4


@pytest.mark.slow
def test_a_file_in_parts_is_whole_though_answers_to_parts_were_lost(
    client_by: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voices_noun, "PART_BYTES", 100_000)
    (tmp_path / "one.wav").write_bytes(SOUND)
    told: list[int] = []
    with client_by(wire := Losing("PUT")) as client:
        voice = client.voices.create("Ada")
        recording = client.recordings.add_in_parts(
            voice.id, tmp_path / "one.wav", progress=lambda done, size: told.append(done)
        )
        assert recording.size == len(SOUND)
        assert told == [100_000, 200_000, len(SOUND)]
        assert wire.sent.count("PUT 409") == 3
        client.recordings.download(recording.id, tmp_path / "back.wav", sha256=recording.sha256)
    assert (tmp_path / "back.wav").read_bytes() == SOUND


@pytest.mark.slow
def test_a_download_that_was_cut_goes_on(client_by: Any, tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(SOUND)
    with client_by(wire := Losing()) as client:
        source = client.sources.add(tmp_path / "one.wav")
        wire.methods = ("GET",)
        client.sources.download(source.id, tmp_path / "back.wav")
    assert wire.sent[-2:] == ["GET 200", "GET 206"]
    assert (tmp_path / "back.wav").read_bytes() == SOUND
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.wav", "one.wav"]
