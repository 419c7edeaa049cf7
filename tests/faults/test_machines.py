"""Many machines: web and workers on hosts of their own that share PostgreSQL, Redis and S3 alone. Any one may go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import debian_redis, machines, postgres, swift
from tests.faults.trainings import PREPARE
from tests.machines import HOST, ROOT, Machine
from tests.sounds import speech, wav_bytes

pytestmark = pytest.mark.slow

PORT = "8000"
GRACE_SECONDS = 10.0  # between a deployment's SIGTERM and its SIGKILL
TRAIN = """
from apps.accounts.models import User
from apps.voices.models import Voice
from apps.voices.services.training import train
user = User.objects.get(email="admin@localhost")
options = {"preset": "fast", "steps": steps, "save_seconds": 1.0}
result = [train(voice=Voice.objects.get(pk=voice), user=user, options=options).job_id for _ in range(count)]
"""
SHORT = """
from apps.accounts.models import User
from apps.jobs.services import submit
from tests.jobs import bodies
workspace = User.objects.get(email="admin@localhost").workspaces.first()
workspace.job_limit = 0
workspace.save()
result = [submit(workspace=workspace, user=None, kind="test", title="Short", task=bodies.succeed, queue="gpu").pk
          for _ in range(count)]
"""
LOOK = """
from apps.jobs.models import Job
names = ("pk", "status", "worker", "attempt", "message", "progress")
result = [{name: getattr(job, name) for name in names} for job in Job.objects.filter(pk__in=jobs).order_by("pk")]
"""
LEFT = """
from unittest import mock
from datetime import timedelta
from apps.jobs import orphans
from apps.voices.models import VoiceModel
with mock.patch.object(orphans, "GRACE", timedelta(0)):
    swept = [orphans.sweep_orphans(), orphans.sweep_orphans()]
result = {"swept": swept, "models": [[m.file.size == m.size, m.curve[-1]["step"]] for m in VoiceModel.objects.all()]}
"""


@dataclass
class Cluster:
    """Two web machines and three with a worker each; the sweep runs beside the first web process."""

    web: list[Machine]
    workers: list[Machine]
    environment: dict[str, str]

    def django(self, code: str, **given: Any) -> Any:
        """Run code in a Django of the test's own that shares the same three services."""
        script = "import json,sys,django;django.setup();names=json.loads(sys.argv[1]);exec(sys.argv[2],names);"
        script += "print();print(json.dumps(names.get('result'), default=str))"
        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps(given), code],
            cwd=ROOT,
            env={**self.environment, "DJANGO_SETTINGS_MODULE": "voicecloud.settings"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    def jobs(self, pks: list[int]) -> list[dict[str, Any]]:
        return self.django(LOOK, jobs=pks)

    def until(self, pks: list[int], *statuses: str, seconds: float) -> list[dict[str, Any]]:
        return self.until_all(pks, lambda job: job["status"] in statuses, seconds)

    def until_all(self, pks: list[int], says: Callable[[dict[str, Any]], bool], seconds: float) -> list[dict[str, Any]]:
        """Return the jobs once it holds for all of them."""
        limit = time.monotonic() + seconds
        while True:
            found = self.jobs(pks)
            if all(map(says, found)):
                return found
            assert time.monotonic() < limit, (found, self.logs())
            time.sleep(0.3)

    def logs(self) -> str:
        return "\n".join(machine.log.read_text()[-1500:] for machine in (*self.web, *self.workers))


def answers(machine: Machine, page: str) -> bool:
    try:
        request = urllib.request.Request(f"http://{machine.address}:{PORT}/{page}")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait(says: Any, seconds: float, why: Any) -> float:
    began = time.monotonic()
    while not says():
        assert time.monotonic() - began < seconds, why()
        time.sleep(0.2)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    machines.require()
    swift.skip_unless_installed()
    programs, redis = postgres.require(), debian_redis.require()
    with ExitStack() as stack:
        stack.enter_context(machines.network())
        database = stack.enter_context(postgres.server(programs, HOST))
        store = stack.enter_context(swift.server(HOST))
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment |= {
            "DATABASE_URL": database.address,
            "REDIS_URL": stack.enter_context(debian_redis.server(redis, HOST)),
            **store.settings,
            "SECRET_KEY": "shared-by-all-machines-" + "0123456789" * 4,
            "SITE_URL": f"http://{machines.NETWORK}.11:{PORT}",
            "ALLOWED_HOSTS": "*",
            "DEFAULT_CONVERTER": "toy",
            "JOB_HEARTBEAT_SECONDS": "1",
            "JOB_LOST_AFTER_SECONDS": "4",
            "OMP_NUM_THREADS": "1",
        }
        own = {**environment, "VOICECLOUD_DATA": str(tmp_path_factory.mktemp("own"))}
        prepare = [sys.executable, str(ROOT / "manage.py"), "prepare", "--first-login"]
        subprocess.run(prepare, check=True, env=own, cwd=ROOT, timeout=120, stdout=subprocess.DEVNULL)
        hosts = stack.enter_context(machines.machines(5, environment))
        site = Cluster(hosts[:2], hosts[2:], own)
        for host in site.web:
            host.start("prepare").wait(120)
            host.start("web", "--host", "0.0.0.0", "--port", PORT)
            host.start("sweep", "--every", "1")  # two do no harm, as of the next
            host.start("deliver")
        for host in site.workers:
            host.start("worker", "gpu", "--threads", "1")
        site.workers[0].start("worker", "default", "--threads", "1")
        for host in site.web:
            wait(lambda host=host: answers(host, "readyz"), 90, site.logs)  # type: ignore[misc]
        yield site


def test_jobs_spread_over_the_machines(cluster: Cluster) -> None:
    pks = cluster.django(SHORT, count=60)
    done = cluster.until(pks, "done", seconds=60)
    by = Counter(job["worker"] for job in done)
    assert len(by) == 3 and min(by.values()) >= 5, by
    assert {job["attempt"] for job in done} == {1}


def test_any_machine_may_lose_its_power_and_all_work_is_finished(cluster: Cluster, tmp_path: Path) -> None:
    for seed in range(4):
        (tmp_path / f"{seed}.wav").write_bytes(wav_bytes(speech(20.0, seed=seed)))
    voice = cluster.django(PREPARE, paths=sorted(map(str, tmp_path.iterdir())))
    sliced = "from apps.jobs.models import Job\nresult = not Job.objects.filter(ended_at=None).exists()"
    wait(lambda: cluster.django(sliced), 120, cluster.logs)
    pks = cluster.django(TRAIN, voice=voice, steps=8_000, count=3)
    running = cluster.until_all(pks, lambda job: job["progress"] > 0.1, seconds=90)
    assert len({job["worker"] for job in running}) == 3

    lost, web = cluster.workers[2], cluster.web[0]
    lost.lose_power()
    began = time.monotonic()
    wait(lambda: any(job["attempt"] == 2 or job["status"] == "queued" for job in cluster.jobs(pks)), 30, cluster.logs)
    print(f"a lost machine's job was given back after {time.monotonic() - began:.1f} s")
    web.lose_power()
    assert answers(cluster.web[1], "healthz") and not answers(web, "healthz")
    lost.start("worker", "gpu", "--threads", "1")
    ended = cluster.until(pks, "done", "failed", "cancelled", seconds=240)
    assert {job["status"] for job in ended} == {"done"}, ended
    assert sorted(job["attempt"] for job in ended) == [1, 1, 2], ended
    left = cluster.django(LEFT)
    assert all(whole for whole, _ in left["models"]), left
    assert len({steps for _, steps in left["models"]}) == 1, "the same training ended elsewhere"
    assert left["swept"][1] == {"orphans": 0, "missing": 0}
    web.start("web", "--host", "0.0.0.0", "--port", PORT)
    web.start("sweep", "--every", "1")
    web.start("deliver")
    wait(lambda: answers(web, "readyz"), 60, cluster.logs)


def test_a_rolling_restart_hands_work_on_and_answers_all_the_time(cluster: Cluster) -> None:
    pks = cluster.django(SHORT.replace("bodies.succeed", "bodies.work_for_a_while"), count=6)
    refused = answered = 0
    for host in (*cluster.workers, *cluster.web):
        for command in [name for name in host.processes if name.startswith(("worker", "web", "sweep", "deliver"))]:
            took = host.stop(command, seconds=GRACE_SECONDS)
            print(f"{host.name}: {command} stopped within {took:.1f} s")
            for _ in range(3):  # what a proxy does: the other one
                fine = any(answers(each, "healthz") for each in cluster.web)
                answered, refused = answered + fine, refused + (not fine)
            host.start(*command.split())
        if host in cluster.web:
            wait(lambda host=host: answers(host, "healthz"), 60, cluster.logs)  # type: ignore[misc]
    assert refused == 0 and answered > 0
    ended = cluster.until(pks, "done", "failed", "cancelled", seconds=180)
    assert {job["status"] for job in ended} == {"done"}, ended
    assert any(job["attempt"] > 1 for job in ended), "none was under way when its worker was stopped"
