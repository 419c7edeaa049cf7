"""Faults of ours reach an error tracker, by its real client, under the ids that people are told; nothing else does."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.stack import ROOT, Stack, running, short_folder

SUBMIT = """
from apps.accounts.models import User
from apps.jobs.models import Job
from apps.jobs.services import submit
from tests.jobs import bodies
workspace = User.objects.get(email="admin@localhost").workspaces.first()
job = submit(workspace=workspace, user=None, kind="test", title=body, task=getattr(bodies, body), queue="default")
result = job.pk
"""
LOOK = """
from apps.jobs.models import Job
job = Job.objects.select_related("workspace").get(pk=pk)
result = {"status": job.status, "error_id": job.error_id, "code": str(job.code), "workspace": job.workspace.slug}
"""
BREAK = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("ALTER TABLE accounts_invitation RENAME TO gone")
"""


class Tracker(ThreadingHTTPServer):
    """Takes what Sentry's client sends: envelopes, of which the events are kept."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.events: list[dict[str, Any]] = []
        self.keys: set[str] = set()

    @property
    def dsn(self) -> str:
        return f"http://public-key@127.0.0.1:{self.server_port}/7"

    def of(self, error_id: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["tags"].get("error_id") == error_id]


class Receiver(BaseHTTPRequestHandler):
    server: Tracker

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/api/7/envelope/"
        self.server.keys.add(self.headers["X-Sentry-Auth"])
        lines = body.split(b"\n")
        for header, payload in zip(lines[1::2], lines[2::2], strict=False):
            if json.loads(header)["type"] == "event":
                self.server.events.append(json.loads(payload))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def tracker() -> Iterator[Tracker]:
    server = Tracker()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def site(tracker: Tracker) -> Iterator[Stack]:
    data = short_folder()
    with running(data, SENTRY_DSN=tracker.dsn) as stack:
        yield stack
    shutil.rmtree(data, ignore_errors=True)


def finished(site: Stack, body: str) -> dict[str, Any]:
    pk = site.django(SUBMIT, body=body)
    site.wait_until(lambda: site.django(LOOK, pk=pk)["status"] in ("done", "failed"), seconds=30)
    return dict(site.django(LOOK, pk=pk))


def test_a_fault_in_a_job_arrives_with_its_ids_and_an_expected_no_does_not(site: Stack, tracker: Tracker) -> None:
    refused = finished(site, "refuse")
    job = finished(site, "break_down")
    assert job["error_id"]
    site.wait_until(lambda: tracker.of(job["error_id"]), seconds=10)
    (event,) = tracker.of(job["error_id"])
    assert event["exception"]["values"][-1]["type"] == "ZeroDivisionError"
    assert event["tags"] == {"error_id": job["error_id"], "job": job["code"], "workspace": job["workspace"]}
    assert event["environment"] == "127.0.0.1" and all("public-key" in key for key in tracker.keys)
    assert not [event for event in tracker.events if refused["code"] in json.dumps(event)]


def test_a_fault_in_a_request_arrives_with_the_id_on_its_page_and_without_its_address(
    site: Stack, tracker: Tracker
) -> None:
    site.django(BREAK)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{site.url}/invitations/a-secret-token/?email=ada@example.org", timeout=20)
    code = refused.value.headers["X-Request-ID"]
    assert refused.value.code == 500 and code in refused.value.read().decode()
    site.wait_until(lambda: tracker.of(code), seconds=10)
    (event,) = tracker.of(code)
    assert event["exception"]["values"][-1]["type"] == "OperationalError"
    assert event["tags"]["request_id"] == code
    text = json.dumps(event)
    assert "a-secret-token" not in text and "ada@example.org" not in text and "request" not in event
    assert not [
        frame for each in event["exception"]["values"] for frame in each["stacktrace"]["frames"] if "vars" in frame
    ]


SAY = """
import logging, django, sys
django.setup()
from apps.errors import Refused
for error in (Refused("no"), ValueError("twice: (email)=(ada@example.org)")):
    try:
        raise error
    except Exception:
        logging.getLogger("x").exception("for %s", "bob@example.org", extra={"error_id": type(error).__name__})
logging.getLogger("apps.pages.health").error("down")
print("sentry_sdk" in sys.modules)
"""


def said(**environment: str) -> str:
    own = {**os.environ, "DJANGO_SETTINGS_MODULE": "voicecloud.settings", **environment}
    done = subprocess.run(
        [sys.executable, "-c", SAY], env=own, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_addresses_in_an_exceptions_words_are_hidden(tracker: Tracker) -> None:
    assert said(SENTRY_DSN=tracker.dsn) == "True"
    limit = time.monotonic() + 10
    while not tracker.of("ValueError"):
        assert time.monotonic() < limit
        time.sleep(0.05)
    (event,) = tracker.of("ValueError")
    assert event["exception"]["values"][0]["value"] == "twice: (email)=([address])"
    assert event["logentry"] == {"message": "for %s"}
    assert not tracker.of("Refused")
    assert not [event for event in tracker.events if event.get("logger") == "apps.pages.health"]


def test_a_tracker_that_does_not_answer_holds_up_nobody() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as deaf:  # listens, and accepts nothing
        begun = time.monotonic()
        assert said(SENTRY_DSN=f"http://key@127.0.0.1:{deaf.server_port}/1") == "True"
    assert time.monotonic() - begun < 20


def test_without_an_address_not_even_the_client_is_loaded() -> None:
    assert said() == "False"
    assert said(SENTRY_DSN="no address") == "False"
