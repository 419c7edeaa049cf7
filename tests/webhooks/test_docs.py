"""What receivers are told in docs/webhooks.md is what happens."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from apps.jobs import services as jobs
from apps.jobs.models import Artifact, Job, Status
from apps.webhooks import services
from apps.webhooks.catalog import EVENTS
from apps.webhooks.courier import Courier
from apps.webhooks.models import Endpoint
from tests.stack import ROOT
from tests.webhooks.conftest import SECRET
from tests.webhooks.receivers import Receiver

TEXT = (ROOT / "docs" / "webhooks.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def shape(value: Any) -> Any:
    """Return the value with types in place of words and numbers; how a time is written is kept."""
    match value:
        case dict():
            return {key: shape(inner) for key, inner in value.items()}
        case list():
            return [shape(inner) for inner in value]
        case str():
            return re.sub(r"[a-zA-Z]+", "x", re.sub(r"[0-9a-f]{2,}", "0", value)) if "T" in value else "text"
        case _:
            return type(value).__name__


@pytest.mark.django_db(transaction=True)
def test_the_example_and_the_sample_are_true(
    endpoint: Endpoint, receiver: Receiver, acme: Any, alice: Any, settings: Any
) -> None:
    settings.SITE_URL = "https://voice.example.com"
    job = Job.objects.create(
        workspace=acme, kind="conversion", title="song.wav as Ada", task="x", queue="gpu", url="/w/acme/conversions/1/"
    )
    jobs.claim(job.pk, worker="w")
    made = {"name": "song - Ada.wav", "content_type": "audio/wav", "size": 2880044, "sha256": "0" * 64}
    Artifact.objects.create(workspace=acme, job=job, kind="audio", file="x.wav", **made)
    jobs.end(job.pk, status=Status.DONE, attempt=1)
    Courier().run_until_empty()
    got = next(one for one in receiver.received if one.json()["type"] == "job.done")
    sample: dict[str, Any] = {}
    exec(block("python"), sample)
    whole = sample["verify"](SECRET, got.headers, got.body)
    assert shape(whole) == shape(json.loads(block("json")))
    for wrong in ({"webhook-id": "1"}, {"webhook-timestamp": "1"}, {"webhook-signature": "v1,AAAA v2,AAAA"}):
        with pytest.raises(ValueError, match="too old|wrong signature"):
            sample["verify"](SECRET, {**got.headers, **wrong}, got.body)
    with pytest.raises(ValueError, match="wrong signature"):
        sample["verify"](SECRET, got.headers, got.body.replace(b"done", b"gone"))


def test_every_event_is_explained() -> None:
    assert set(re.findall(r"^\| `((?:job|webhook)\.\w+)` \|", TEXT, re.MULTILINE)) == {*EVENTS, "webhook.test"}
    for event, meaning in EVENTS.items():
        assert f"| `{event}` | {meaning} |" in TEXT


def test_the_table_of_attempts_is_the_schedule() -> None:
    row = re.search(r"^\| after \|(.*)\|$", TEXT, re.MULTILINE)
    assert row is not None
    units = {"s": "seconds", "min": "minutes", "h": "hours"}
    told = [cell.split() for cell in row[1].split("|")]
    assert tuple(timedelta(**{units[unit]: int(number)}) for number, unit in told) == services.RETRY_AFTER
