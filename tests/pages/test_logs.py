"""A log record says whose work it is of: one id joins the page's request to the job that a worker runs for it."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps import logs
from apps.jobs import services
from apps.jobs.models import Job
from apps.jobs.worker import belong_to
from tests.jobs import bodies


def record_now() -> logging.LogRecord:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "hello", None, None)
    assert logs.Belonging().filter(record)
    return record


@pytest.mark.django_db(transaction=True)
def test_a_job_is_logged_under_the_request_that_submitted_it(acme: Any, alice: Any, client_of: Any) -> None:
    answer = client_of(alice).get("/w/acme/jobs/")
    token = logs.request_id.set(answer["X-Request-ID"])
    try:
        job = services.submit(
            workspace=acme, user=alice, kind="conversion", title="Hello", task=bodies.succeed, queue="default"
        )
    finally:
        logs.request_id.reset(token)
    job.refresh_from_db()
    assert job.request_id == answer["X-Request-ID"]
    belong_to(Job.objects.select_related("workspace").get(pk=job.pk))
    record: Any = record_now()
    assert (record.request_id, record.job, record.workspace) == (answer["X-Request-ID"], str(job.code), "acme")
    for variable in (logs.request_id, logs.job, logs.workspace):
        variable.set(logs.NOBODY)


@pytest.mark.django_db
def test_a_page_is_logged_with_its_workspace_and_the_next_one_without(
    acme: Any, alice: Any, client_of: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr("apps.jobs.views.render", lambda *args, **more: seen.append(logs.workspace.get()) or _page())
    client_of(alice).get("/w/acme/jobs/")
    assert seen == ["acme"]
    client.get("/healthz")
    assert logs.workspace.get() == logs.NOBODY


def _page() -> Any:
    from django.http import HttpResponse

    return HttpResponse("")


def test_json_logs_are_one_object_a_record_with_all_that_is_searched_for(tmp_path: Path) -> None:
    code = """
import django, logging
django.setup()
from apps import logs
logs.request_id.set("r1"); logs.job.set("j1"); logs.workspace.set("acme")
logging.getLogger("here").warning("two\\nlines of %s", "it")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("here").exception("broken")
"""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "voicecloud.settings",
        "LOG_FORMAT": "json",
        "VOICECLOUD_DATA": str(tmp_path),
    }
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=True)
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert first["message"] == "two\nlines of it" and first["level"] == "WARNING" and first["logger"] == "here"
    assert (first["request_id"], first["job"], first["workspace"]) == ("r1", "j1", "acme") and first["time"]
    assert "ZeroDivisionError" in second["exc_info"]
