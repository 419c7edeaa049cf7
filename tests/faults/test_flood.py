"""A thousand jobs of one workspace and one of another, by a real worker: the one waits for the job that runs alone."""

from __future__ import annotations

import shutil

import pytest

from tests.stack import running, short_folder

pytestmark = pytest.mark.slow

FLOOD = """
from apps.accounts.models import User
from apps.accounts.services import create_workspace
from apps.jobs.services import submit
from tests.jobs import bodies
user = User.objects.get(email="admin@localhost")
first, other = user.workspaces.first(), create_workspace(user=user, name="Other")
def one(workspace):
    return submit(workspace=workspace, user=None, kind="test", title="Short", task=bodies.succeed, queue="default")
for _ in range(1000):
    one(first)
singles = [one(other).pk]
result = [other.pk, singles]
"""
ONE_MORE = """
from apps.accounts.models import Workspace
from apps.jobs.services import submit
from tests.jobs import bodies
other = Workspace.objects.get(pk=other)
result = submit(workspace=other, user=None, kind="test", title="Short", task=bodies.succeed, queue="default").pk
"""
LOOK = """
from apps.jobs.models import Job
def between(single):
    flood = Job.objects.exclude(workspace=single.workspace)
    return flood.filter(started_at__gt=single.created_at, started_at__lt=single.started_at).count()
found = list(Job.objects.filter(pk__in=singles))
ended = all(job.ended_at for job in found)
result = {"passed": [between(job) for job in found] if ended else None,
          "waited": [(job.started_at - job.created_at).total_seconds() for job in found] if ended else None,
          "waiting": Job.objects.filter(status="queued").count()}
"""


def test_one_job_waits_for_what_runs_and_not_for_a_thousand() -> None:
    folder = short_folder()
    with running(folder) as site:
        other, singles = site.django(FLOOD, timeout=300)
        # Another few while the flood is worked off, each just after the last had its turn.
        for _ in range(4):
            site.wait_until(lambda: site.django(LOOK, singles=singles)["passed"] is not None, seconds=60)
            singles.append(site.django(ONE_MORE, other=other))
        site.wait_until(lambda: site.django(LOOK, singles=singles)["passed"] is not None, seconds=60)
        seen = site.django(LOOK, singles=singles)
        print(seen)
        assert seen["waiting"] > 100, "the flood was over: this shows nothing"
        assert max(seen["passed"]) <= 1, "one worker: one job may begin while it is submitted"
    shutil.rmtree(folder, ignore_errors=True)
