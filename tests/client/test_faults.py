"""What goes wrong on the way: tried again, gone on with, or told, and nothing is done twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from voicecloud_client import Client, ConnectionFailed, JobFailed, StillRunning
from voicecloud_client.commands.context import free_place, save
from voicecloud_client.credentials import Credentials, keep
from voicecloud_client.errors import (
    ApiError,
    Conflict,
    DamagedFile,
    NotFound,
    RateLimited,
    Unavailable,
    UnexpectedAnswer,
    VoicecloudError,
)
from voicecloud_client.models import Artifact

JOB = {
    "id": "6f1d8a7e-7a5c-4c55-9d0a-0d6f3f1c2b3a", "kind": "conversion", "title": "One", "stage": "", "progress": 0.0,
    "message": "", "error_id": "", "attempt": 1, "seconds_left": None, "created_at": "2026-11-21T10:00:00Z",
    "started_at": None, "ended_at": None,
}  # fmt: skip
VOICE = {
    "id": JOB["id"], "name": "Ada", "description": "", "created_at": JOB["created_at"], "has_consent": False,
    "active_model": None, "locked": False, "recordings": 0, "usable_seconds": 0.0,
}  # fmt: skip
SOUND = bytes(range(256)) * 40
HASH = hashlib.sha256(SOUND).hexdigest()
Step = Callable[[httpx.Request], httpx.Response]


class Script:
    """Answers one request after another as it was told to, and remembers them."""

    def __init__(self, *steps: Step | httpx.Response) -> None:
        self.steps, self.requests, self.bodies = list(steps), [], []  # type: ignore[var-annotated]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.read())
        self.requests.append(request)
        step = self.steps.pop(0)
        return step if isinstance(step, httpx.Response) else step(request)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have slept, each time."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def client(script: Script, *, key: str = "vc_key", **how: Any) -> Client:
    return Client("http://site.example", key, transport=httpx.MockTransport(script), **how)


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("Connection reset by peer")


def no(status: int, kind: str, **headers: str) -> httpx.Response:
    fault = {"type": kind, "code": kind, "message": f"No: {kind}.", "param": None, "request_id": "abc"}
    return httpx.Response(status, json={"error": fault}, headers={k.replace("_", "-"): v for k, v in headers.items()})


def test_a_lost_request_is_sent_again_under_the_same_key(naps: list[float]) -> None:
    script = Script(lost, lost, httpx.Response(201, json=VOICE))
    with client(script) as site:
        assert site.voices.create("Ada").name == "Ada"
    assert len({each.headers["Idempotency-Key"] for each in script.requests}) == 1
    assert len(set(script.bodies)) == 1
    assert len(naps) == 2
    with client(again := Script(httpx.Response(201, json=VOICE))) as site:
        site.voices.create("Ada")
    assert again.requests[0].headers["Idempotency-Key"] != script.requests[0].headers["Idempotency-Key"]


def test_a_form_is_sent_again_with_all_of_its_file(naps: list[float], tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(SOUND)
    source = {**dict.fromkeys(("size", "duration", "sample_rate", "channels"), 1), "expired": False}
    source |= dict.fromkeys(("name", "sha256", "content_type", "codec"), "x")
    source |= {"id": JOB["id"], "created_at": JOB["created_at"], "expires_at": None}
    script = Script(no(503, "unavailable"), lost, httpx.Response(201, json=source))
    told: list[int] = []
    with client(script) as site:
        site.sources.add(tmp_path / "one.wav", progress=lambda done, size: told.append(done))
    assert all(SOUND in body for body in script.bodies)
    assert told[-1] == len(SOUND)


def test_after_all_tries_the_sentence_names_the_site(naps: list[float]) -> None:
    with client(Script(*[lost] * 3), retries=2) as site, pytest.raises(ConnectionFailed, match=r"site\.example"):
        site.workspace.get()
    assert len(naps) == 2


@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limited"), (503, "unavailable"), (409, "conflict")])
def test_it_waits_as_long_as_the_server_says(naps: list[float], status: int, kind: str) -> None:
    with client(Script(no(status, kind, Retry_After="7"), httpx.Response(201, json=VOICE))) as site:
        site.voices.create("Ada")
    assert naps == [7.0]


def test_it_waits_for_no_hour_and_not_without_end(naps: list[float]) -> None:
    with client(Script(no(429, "rate_limited", Retry_After="3600"))) as site, pytest.raises(RateLimited) as told:
        site.usage.get()
    assert (told.value.retry_after, naps) == (3600.0, [])
    with client(Script(*[no(503, "unavailable")] * 3), retries=2) as site, pytest.raises(Unavailable) as gone:
        site.usage.get()
    assert (gone.value.request_id, gone.value.type, len(naps)) == ("abc", "unavailable", 2)


def test_what_is_no_passing_fault_is_told_at_once(naps: list[float]) -> None:
    with client(Script(no(409, "conflict"), no(404, "not_found"))) as site:
        with pytest.raises(Conflict):
            site.voices.create("Ada")
        with pytest.raises(NotFound):
            site.voices.delete(JOB["id"])
    assert naps == []


def test_a_deletion_whose_answer_was_lost_is_done(naps: list[float]) -> None:
    with client(Script(lost, no(404, "not_found"))) as site:
        site.voices.delete(JOB["id"])


def test_another_server_than_ours_is_noticed() -> None:
    with client(Script(httpx.Response(200, text="<html>"), httpx.Response(200, json={"items": 1}))) as site:
        with pytest.raises(UnexpectedAnswer, match="no JSON"):
            site.workspace.get()
        with pytest.raises(UnexpectedAnswer, match="no “id”"):
            site.workspace.get()


# --- downloads


class Cut(httpx.SyncByteStream):
    """Bytes, and then a lost connection."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


def piece(start: int, end: int = len(SOUND), *, cut: bool = False, etag: str = '"a"', all_of_it: bool = False) -> Step:
    """Answer with bytes of SOUND, of which a connection may lose those after ``end``."""

    def step(request: httpx.Request) -> httpx.Response:
        headers = {"ETag": etag, "Content-Length": str(len(SOUND) - start)}
        content = SOUND[start:end]
        stream = Cut(content) if cut else httpx.ByteStream(content)
        return httpx.Response(206 if start and not all_of_it else 200, headers=headers, stream=stream)

    return step


def ranges(script: Script) -> list[str | None]:
    return [request.headers.get("Range") for request in script.requests]


def test_a_truncated_download_goes_on_where_it_stopped(naps: list[float], tmp_path: Path) -> None:
    script = Script(piece(0, 3000, cut=True), piece(3000, 7000, cut=True), piece(7000))
    with client(script) as site:
        site.takes.download(JOB["id"], tmp_path / "take.flac")
    assert (tmp_path / "take.flac").read_bytes() == SOUND
    assert ranges(script) == [None, "bytes=3000-", "bytes=7000-"]
    assert script.requests[1].headers["If-Range"] == '"a"'
    assert [path.name for path in tmp_path.iterdir()] == ["take.flac"]


def test_a_file_that_changed_meanwhile_begins_anew(naps: list[float], tmp_path: Path) -> None:
    script = Script(piece(0, 3000, cut=True), piece(0, etag='"b"'))
    with client(script) as site:
        site.takes.download(JOB["id"], tmp_path / "take.flac")
    assert (tmp_path / "take.flac").read_bytes() == SOUND


def test_a_short_body_is_noticed_and_nothing_is_left(naps: list[float], tmp_path: Path) -> None:
    (tmp_path / "take.flac").write_bytes(b"before")
    with client(Script(piece(0, 3000), *[lost] * 3), retries=2) as site, pytest.raises(ConnectionFailed):
        site.takes.download(JOB["id"], tmp_path / "take.flac")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("take.flac", b"before")]


def test_a_later_call_goes_on_with_a_file_whose_hash_is_known(naps: list[float], tmp_path: Path) -> None:
    target = tmp_path / "song.wav"
    with client(Script(piece(0, 3000, cut=True), lost), retries=0) as site, pytest.raises(ConnectionFailed):
        site.artifacts.download(JOB["id"], target, sha256=HASH)
    assert not target.exists()
    with client(script := Script(piece(3000))) as site:
        site.artifacts.download(JOB["id"], target, sha256=HASH)
    assert ranges(script) == ["bytes=3000-"]
    assert target.read_bytes() == SOUND


def test_a_damaged_file_is_not_kept(tmp_path: Path) -> None:
    with client(Script(piece(0))) as site, pytest.raises(DamagedFile):
        site.artifacts.download(JOB["id"], tmp_path / "song.wav", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


# --- events


def told(*jobs: dict[str, Any], cut: bool = False) -> Step:
    text = ": still here\n\n" + "".join(f"event: job.{job['status']}\ndata: {json.dumps(job)}\n\n" for job in jobs)
    return lambda request: httpx.Response(200, stream=Cut(text.encode()) if cut else httpx.ByteStream(text.encode()))


def test_a_stream_that_ends_before_its_job_is_connected_anew(naps: list[float]) -> None:
    running, done = {**JOB, "status": "running", "progress": 0.5}, {**JOB, "status": "done", "progress": 1.0}
    seen: list[float] = []
    with client(Script(told(running, cut=True), lost, told(running), told(done)), retries=2) as site:
        job = site.jobs.wait(JOB["id"], progress=lambda job: seen.append(job.progress))
    assert (job.status, seen) == ("done", [0.5, 0.5, 1.0])


def test_a_job_that_fails_is_told_and_so_is_one_that_takes_too_long(naps: list[float]) -> None:
    failed = {**JOB, "status": "failed", "message": "The file is silent."}
    with client(Script(told(failed))) as site, pytest.raises(JobFailed, match="The file is silent"):
        site.jobs.wait(JOB["id"])
    running = {**JOB, "status": "running"}
    with client(Script(told(running))) as site, pytest.raises(StillRunning):
        site.jobs.wait(JOB["id"], timeout=0.0)


def test_events_that_cannot_be_reached_are_given_up(naps: list[float]) -> None:
    with client(Script(*[lost] * 3), retries=2) as site, pytest.raises(ConnectionFailed):
        site.jobs.wait(JOB["id"])
    assert len(naps) == 2


def test_whoever_watches_while_nothing_happens_is_not_given_up(naps: list[float]) -> None:
    quiet = [told(cut=True)] * 4
    done = {**JOB, "status": "done", "progress": 1.0}
    with client(Script(*quiet, lost, told(done)), retries=1) as site:
        assert site.jobs.wait(JOB["id"]).status == "done"


# --- parts

UPLOAD = {"id": JOB["id"], "voice": JOB["id"], "name": "one.wav", "size": len(SOUND), "offset": 0}
UPLOAD |= {"created_at": JOB["created_at"]}


def test_an_upload_that_cannot_go_on_is_given_up(naps: list[float], tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(SOUND)
    script = Script(httpx.Response(201, json=UPLOAD), no(413, "too_large"), httpx.Response(204))
    with client(script) as site, pytest.raises(ApiError, match="too_large"):
        site.recordings.add_in_parts(JOB["id"], tmp_path / "one.wav")
    assert [request.method for request in script.requests] == ["POST", "PUT", "DELETE"]
    script = Script(httpx.Response(201, json=UPLOAD), no(413, "too_large"), no(404, "not_found"))
    with client(script) as site, pytest.raises(ApiError, match="too_large"):
        site.recordings.add_in_parts(JOB["id"], tmp_path / "one.wav")


# --- keys


def test_a_key_that_cannot_be_sent_is_never_printed() -> None:
    with client(script := Script(httpx.Response(201, json=VOICE)), key=" vc_key\r\n") as site:
        site.voices.create("Ada")
    assert script.requests[0].headers["Authorization"] == "Bearer vc_key"
    for key in ("vc_se\rcret", "vc_se cret", "vc_sécret", " "):
        with pytest.raises(VoicecloudError, match="copy it again") as refused:
            Client("http://site.example", key)
        assert "cret" not in str(refused.value)


def test_what_a_faulty_header_holds_is_never_printed(naps: list[float]) -> None:
    def odd(request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError("Illegal header value b'Bearer vc_secret'")

    with client(Script(odd)) as site, pytest.raises(ConnectionFailed) as refused:
        site.workspace.get()
    assert "vc_secret" not in str(refused.value)
    assert naps == []


def test_a_key_that_cannot_be_kept_is_left_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    place = tmp_path / "voicecloud" / "credentials.json"
    place.mkdir(parents=True)  # nothing can replace it
    with pytest.raises(OSError, match="credentials"):
        keep(Credentials("http://site.example", "vc_secret"))
    assert list(place.parent.iterdir()) == [place]


# --- names of files


def artifact(name: str) -> Artifact:
    code, now = UUID(JOB["id"]), datetime.now(UTC)
    return Artifact(code, code, "result", name, "audio/wav", len(SOUND), HASH, now, None, expired=False)


def test_a_file_with_a_long_name_is_saved(tmp_path: Path) -> None:
    name = "ä" * 120 + ".wav"
    with client(Script(piece(0), piece(0))) as site:
        assert save(site, artifact(name), tmp_path).name == name
        long = save(site, artifact("中" * 200 + ".wav"), tmp_path)
    assert (long.read_bytes(), long.name) == (SOUND, "中" * 83 + ".wav")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        (".bashrc", "bashrc"),
        ("../../.ssh", "ssh"),
        ("..", "result"),
        (". .", "result"),
        ("a\r\n\x1b[31mb.wav", "a[31mb.wav"),
        ("a\u202egpj.wav", "agpj.wav"),
        ("c:\\songs\\one.wav", "one.wav"),
        ("x" * 300, "x" * 255),
        ("x." + "y" * 300, "x." + "y" * 253),
    ],
)
def test_a_name_from_elsewhere_makes_a_plain_file(tmp_path: Path, name: str, safe: str) -> None:
    path = free_place(tmp_path, name)
    assert path == tmp_path / safe
    path.touch()
    following = free_place(tmp_path, name)
    following.touch()
    assert len(list(tmp_path.iterdir())) == 2
    assert following.name.removesuffix(path.suffix if len(path.suffix) < 9 else "").endswith(" (2)")
