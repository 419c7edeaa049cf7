"""What people send by mistake or in malice: each gets a sentence of its own, and nothing else is lost or grows."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from tests.bad_audio import BAD_FILES, encoded
from tests.sounds import speech, wav_bytes
from tests.stack import Stack
from tests.voices.conftest import upload

MOST_GROWTH = 200 * 1024 * 1024
HEAVY = [name for name in BAD_FILES if "bomb" in name or "ten hours" in name or "huge" in name]
LOG_IN = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from apps.accounts.models import User
from apps.accounts.services import create_workspace
from apps.voices.services.voices import create_voice
user = User.objects.create_user("files@example.org")
workspace = create_workspace(user=user, name="Files")
voice = create_voice(workspace=workspace, user=user, name="Anna")
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.create()
result = [session.session_key, f"/w/{workspace.slug}/voices/{voice.code}/recordings/add/"]
"""


def good_files() -> dict[str, bytes]:
    return {
        "good.wav": wav_bytes(speech(2.0, rate=16000), 16000),
        "good.m4a": encoded("ipod", "aac"),
        "good.ogg": encoded("ogg", "libopus"),
    }


def test_each_bad_file_gets_its_own_sentence_and_the_good_ones_are_kept(
    client_of: Any, bob: Any, voice: Any, address: Any
) -> None:
    assert len(BAD_FILES) >= 40
    good = good_files()
    files = [upload(bad.content(), name) for name, bad in BAD_FILES.items()]
    files[10:10] = [upload(content, name) for name, content in good.items()]
    answer = client_of(bob).post(address("add"), {"files": files}, headers={"Accept": "application/json"})
    assert answer.status_code == 207
    fates = {file["name"]: file for file in answer.json()["files"]}
    assert len(fates) == len(files)
    for name, bad in BAD_FILES.items():
        assert 400 <= fates[name]["status"] < 500, fates[name]
        assert bad.says in fates[name]["message"]
    assert {name: fates[name]["status"] for name in good} == dict.fromkeys(good, 201)
    assert set(voice.recordings.values_list("name", flat=True)) == set(good)


def test_a_bad_file_alone_is_answered_4xx(client_of: Any, bob: Any, voice: Any, address: Any) -> None:
    for name in ("empty.wav", "page.mp3", "nan.wav", "film.mp4"):
        files = {"files": [upload(BAD_FILES[name].content(), name)]}
        answer = client_of(bob).post(address("add"), files, headers={"Accept": "application/json"})
        assert answer.status_code == 422


def memory_of(stack: Stack, field: str) -> dict[int, int]:
    """Return bytes of ``VmRSS`` (now) or ``VmHWM`` (the most so far) of each web process."""
    found = {}
    for pid, line in stack.processes().items():
        if "ml.decode" in line or "worker" in line:
            continue
        status = Path(f"/proc/{pid}/status").read_text()
        found[pid] = int(status.split(f"{field}:")[1].split()[0]) * 1024
    return found


def send(stack: Stack, session: str, url: str, files: list[Any]) -> tuple[int, Any]:
    token = "t" * 32
    request = urllib.request.Request(
        stack.url + url,
        data=encode_multipart(BOUNDARY, {"files": files}),
        headers={
            "Content-Type": MULTIPART_CONTENT,
            "Accept": "application/json",
            "Cookie": f"sessionid={session}; csrftoken={token}",
            "X-CSRFToken": token,
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_heaviest_files_do_not_grow_the_server(stack: Stack) -> None:
    session, url = stack.django(LOG_IN)
    name, content = next(iter(good_files().items()))
    assert send(stack, session, url, [upload(content, name)])[0] == 201
    time.sleep(1)
    before = memory_of(stack, "VmRSS")
    assert len(HEAVY) >= 5
    for heavy in HEAVY:
        status, answer = send(stack, session, url, [upload(BAD_FILES[heavy].content(), heavy)])
        assert 400 <= status < 500, (heavy, answer)
        assert BAD_FILES[heavy].says in answer["files"][0]["message"]
    most = memory_of(stack, "VmHWM")
    assert before.keys() & most.keys()
    grown = {pid: most[pid] - before[pid] for pid in before.keys() & most.keys()}
    assert max(grown.values()) < MOST_GROWTH, grown
