"""Docs that would lie fail here: settings, commands, links, pictures, dependencies."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.stack import ROOT

README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def settings_read() -> set[str]:
    """Return the name of every variable that the settings take from the environment."""
    text = (ROOT / "voicecloud" / "settings.py").read_text()
    return set(re.findall(r"\benv\.\w+\(\s*\"([A-Z0-9_]+)\"", text)) | set(
        re.findall(r"\b_given\(\s*\"([A-Z0-9_]+)\"", text)
    )


def test_every_setting_stands_in_the_readme_and_in_the_example() -> None:
    names = settings_read()
    assert len(names) > 15
    assert {name for name in names if f"`{name}`" not in README} == set()
    assert {name for name in names if f"\n{name}=" not in EXAMPLE} == set()


def test_example_and_readme_name_no_setting_that_nothing_reads() -> None:
    shown = set(re.findall(r"^([A-Z0-9_]+)=", EXAMPLE, re.MULTILINE))
    assert shown - settings_read() == set()


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_commands_of_the_docs_exist() -> None:
    known = {*get_commands(), "up", "test"}
    for page in PAGES:
        named = set(re.findall(r"manage\.py ([a-z_]+)", page.read_text()))
        assert named - known == set(), page.name


def test_json_of_the_docs_can_be_copied() -> None:
    blocks = [block for page in PAGES for block in re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)]
    found = {next(reversed(block)): block for block in map(json.loads, blocks)}
    assert {"s3:ListBucket"} <= {action for rule in found["Statement"]["Statement"] for action in rule["Action"]}
    assert found["CORSRules"]["CORSRules"][0]["AllowedMethods"] == ["GET", "HEAD", "PUT"]


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=]", line)[0] for line in wanted}
    text = (ROOT / "docs" / "dependencies.md").read_text().lower()
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)} == set()


def test_lock_holds_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def locked(*files: str) -> set[str]:
        lines = "\n".join((ROOT / file).read_text() for file in files).splitlines()
        return {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}

    def named(lines: list[str]) -> set[str]:
        return {re.split(r"[\[<>=]", line)[0].lower().replace("_", "-") for line in lines}

    assert named(project["dependencies"]) - locked("requirements.txt") == set()
    assert named(project["optional-dependencies"]["dev"]) - locked("requirements.txt", "requirements-dev.txt") == set()


def operations() -> set[str]:
    """Return ``METHOD /path`` of every operation of the API."""
    from apps.api.site import api

    paths = api.document()["paths"]
    return {f"{method.upper()} {path.removeprefix('/api/v1')}" for path in paths for method in paths[path]}


def test_every_operation_of_the_api_is_told_and_every_told_one_is_there() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    rows = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", text, re.MULTILINE))
    assert rows == operations()
    # Below /v1/ and /v2/ are those of other services: tests/api/test_compat_docs.py.
    named = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /(?!v[12]/)[^`]*)`", text))
    assert named - rows == set()


def test_each_route_of_the_earlier_systems_has_its_equal() -> None:
    text = (ROOT / "docs" / "api.md").read_text().partition("## What earlier systems had")[2]
    groups = re.findall(r"^\| (upload|jobs|stream|download|models|system): ", text, re.MULTILINE)
    counts = {group: groups.count(group) for group in groups}
    assert counts == {"upload": 3, "jobs": 5, "stream": 2, "download": 3, "models": 4, "system": 5}
