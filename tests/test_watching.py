"""Alerts, dashboard and their docs: they name figures that the site tells, and a real Prometheus understands them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests import prometheus
from tests.stack import ROOT, Stack, running, short_folder
from voicecloud import proof

TOKEN = "a-token-of-ours"
RULES = (prometheus.DEPLOY / "alerts.yml").read_text()
RULE_TESTS = (prometheus.DEPLOY / "alerts.test.yml").read_text()
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "voicecloud.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
DOCS = (ROOT / "docs" / "operations.md").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES)
SUBMIT = """
import time
from apps.accounts.models import User
from apps.jobs.models import Job
from apps.jobs.services import submit
from tests.jobs import bodies
workspace = User.objects.get(email="admin@localhost").workspaces.first()
jobs = [submit(workspace=workspace, user=None, kind="conversion", title=body, task=getattr(bodies, body),
               queue=queue).pk for queue in ("gpu", "default") for body in ("succeed", "succeed", "break_down")]
limit = time.monotonic() + 60
while Job.objects.filter(pk__in=jobs, status__in=("queued", "running")).exists() and time.monotonic() < limit:
    time.sleep(0.1)
result = sorted(Job.objects.filter(pk__in=jobs).values_list("status", flat=True))
"""
# No GPU is where the tests run: a worker of another machine tells of one.
ELSEWHERE = """
import json
import django_rq
device = {"index": 0, "name": "NVIDIA L4", "utilisation": 0.5, "memory_used": 8, "memory_total": 24, "temperature": 60}
said = {"host": "forge", "gpu": {"state": "ok", "reason": "", "devices": [device]}, "cache": {"held": 1}}
django_rq.get_connection("gpu").set("voicecloud:worker:gpu:elsewhere", json.dumps(said), ex=600)
from apps.jobs import counters
result = [counters.count(f"model_cache_{what}", by=3) for what in ("hits", "misses")]
"""


def named(text: str) -> set[str]:
    """Return the names of our figures in an expression, without what a histogram's samples add to theirs."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bvoicecloud_\w+", text)}


@pytest.fixture
def told(db: None, settings: Any) -> set[str]:
    """The names of the figures that the site tells: counters with their _total, histograms plain."""
    settings.METRICS_TOKEN = TOKEN
    Client().get("/healthz")
    text = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    # Ours alone: libraries may have some of their own.
    return set(re.findall(r"^# TYPE (voicecloud_\w+)", text, re.MULTILINE))


def expressions() -> list[str]:
    """Return every expression of the dashboard, with a range as Grafana would fill in."""
    found = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return [expression.replace("$__rate_interval", "1m") for expression in found]


def test_alerts_and_dashboard_name_only_figures_that_are_told(told: set[str]) -> None:
    assert len(told) > 25 and len(ALERTS) >= 15 and len(expressions()) > 30
    for text in (RULES, RULE_TESTS, *expressions()):
        assert named(text) - told == set()


def test_the_docs_have_every_figure_and_no_other(told: set[str]) -> None:
    table = set(re.findall(r"^\| `(voicecloud_\w+)`", DOCS, re.MULTILINE))
    assert table == told


def test_every_figure_is_used_by_an_alert_or_shown(told: set[str]) -> None:
    used = set().union(*(named(text) for text in (RULES, *expressions())))
    assert told - used == set()


def test_every_alert_is_tested_and_has_a_line_on_what_to_do() -> None:
    runbook = re.findall(r"^\| `(\w+)` \|", DOCS[DOCS.index("## Alerts") :].split("\n## ")[0], re.MULTILINE)
    assert runbook == ALERTS and len(set(ALERTS)) == len(ALERTS)
    fired = re.findall(r"alertname: (\w+)\n\s+exp_alerts", RULE_TESTS)
    assert sorted(fired) == sorted(ALERTS)
    shown = set(re.findall(r"[Aa]lert[^:]*: (\w+)", " ".join(panel["description"] for panel in PANELS)))
    assert shown and shown <= set(ALERTS)


def test_the_dashboard_asks_for_its_data_source_and_no_panel_lies_on_another() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_packages_start_no_service_and_a_machines_own_rule_stays(tmp_path: Path) -> None:
    rule = tmp_path / "policy-rc.d"
    with proof.services_stay_off(rule):
        assert subprocess.run([str(rule), "prometheus", "start"], timeout=10).returncode == 101
    assert not rule.exists()
    rule.write_text("of this machine")
    with proof.services_stay_off(rule):
        assert rule.read_text() == "of this machine"
    assert rule.read_text() == "of this machine"


needs_prometheus = pytest.mark.usefixtures("_installed")


@pytest.fixture
def _installed() -> None:
    if not prometheus.is_installed():
        reason = "Prometheus is missing (apt-get install prometheus, as root)"
        assert os.environ.get("CI", "").lower() not in ("1", "true"), reason
        pytest.skip(reason)


def promtool(*arguments: str, folder: Path) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@needs_prometheus
def test_promtool_takes_the_configuration_and_the_rules_do_what_their_tests_say(tmp_path: Path) -> None:
    prometheus.configured(tmp_path, target="127.0.0.1:9", token=TOKEN)
    shutil.copy(prometheus.DEPLOY / "prometheus.yml", tmp_path)
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml", folder=tmp_path)
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", "alerts.yml", folder=tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yml", folder=tmp_path)


@pytest.mark.slow
@needs_prometheus
def test_a_real_prometheus_understands_all_of_it_and_finds_its_figures() -> None:
    data = short_folder()
    with running(data, METRICS_TOKEN=TOKEN) as site:
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{site.url}/metrics", timeout=10)
        site.django(ELSEWHERE)
        target = site.url.removeprefix("http://")
        with prometheus.server(target=target, token=TOKEN) as server:
            site.wait_until(lambda: up(server) == ["1"], seconds=30)
            work(site, server)
            evaluate(server)
            check_rules(server)
    shutil.rmtree(data, ignore_errors=True)


def up(server: prometheus.Server) -> list[str]:
    return [series["value"][1] for series in server.query('up{job="voicecloud"}')]


def work(site: Stack, server: prometheus.Server) -> None:
    """Let jobs run and pages be asked for, so that there is something to rate, and wait until it was scraped twice."""
    for _ in range(2):
        assert site.django(SUBMIT) == ["done"] * 4 + ["failed"] * 2
        site.django(ELSEWHERE)
        for _ in range(20):
            urllib.request.urlopen(site.url, timeout=10).close()
        site.wait_until(lambda: len(server.query("voicecloud_jobs_ended_total")) >= 3, seconds=30)
    expected = 'sum(max by (queue) (voicecloud_job_wait_seconds_count{kind="conversion"})) >= 12'
    site.wait_until(lambda: server.query(expected), seconds=30)
    # Growth needs two scrapes after the first that had the series.
    site.wait_until(lambda: server.query("min(count_over_time(voicecloud_jobs_ended_total[1m])) >= 5"), seconds=60)


def evaluate(server: prometheus.Server) -> None:
    missing = [expression for expression in expressions() if not server.query(expression)]
    assert missing == []


def check_rules(server: prometheus.Server) -> None:
    (group,) = server.ask("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == ALERTS
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    for rule in group["rules"]:
        # With bool a comparison keeps each series and says 0 or 1: so it is seen that there is something to compare.
        asked = re.sub(r" (==|>=|>|<) (?=[0-9])", r" \1 bool ", rule["query"])
        assert asked != rule["query"] and server.query(asked), rule["name"]
    firing = {alert["labels"]["alertname"] for alert in server.ask("alerts")["alerts"]}
    assert firing - {"JobFaults", "JobsFail"} == set(), "what the test itself broke, and no more"
    assert "JobFaults" in firing
