"""``manage.py`` on a bare checkout: makes its environment once, keeps it up to date, goes on inside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT

PYTHON = getattr(sys, "_base_executable", sys.executable)  # one that is in no virtual environment
UP = "import sys\ndef main(arguments):\n    print('inside', sys.prefix, *arguments)\n    return 7\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose lock is empty and whose ``up`` says where it runs."""
    shutil.copy(ROOT / "manage.py", tmp_path)
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    (tmp_path / "voicecloud").mkdir()
    (tmp_path / "voicecloud" / "up.py").write_text(UP)
    return tmp_path


def call(checkout: Path, *, python: str = PYTHON, path: Path | None = None) -> subprocess.Popen[str]:
    environment = {"PATH": "/usr/bin:/bin", **({"PYTHONPATH": str(path)} if path else {})}
    command = [python, str(checkout / "manage.py"), "up", "--port", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_two_first_calls_at_once_make_one_environment_and_both_go_on_in_it(checkout: Path) -> None:
    calls = [call(checkout), call(checkout)]
    outputs = [process.communicate(timeout=240) for process in calls]
    assert [process.returncode for process in calls] == [7, 7], outputs
    for output, _ in outputs:
        assert f"inside {checkout / '.venv'} --port 1" in output
    together = "".join(output for output, _ in outputs)
    assert together.count("Making .venv") == 1
    assert together.count("Installing") == 1

    later, _ = call(checkout).communicate(timeout=60)
    assert later == f"inside {checkout / '.venv'} --port 1\n"

    (checkout / "requirements.txt").write_text("# something else\n")
    changed, _ = call(checkout).communicate(timeout=120)
    assert "Installing the packages of requirements.txt" in changed
    assert "Making" not in changed


def test_what_cannot_be_installed_is_said_and_tried_again_by_the_next_call(checkout: Path) -> None:
    (checkout / "requirements.txt").write_text("./no-such-package\n")
    for _ in range(2):
        process = call(checkout)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 1
        assert errors.splitlines()[-1].startswith("The packages of requirements.txt could not be installed;")


def test_a_python_without_ensurepip_is_told_what_to_install(checkout: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    process = call(checkout, path=broken)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "apt-get install python3-venv" in errors
    assert not (checkout / ".venv").exists()


def test_inside_a_virtual_environment_nothing_is_made(checkout: Path) -> None:
    process = call(checkout, python=sys.executable)
    output, _ = process.communicate(timeout=60)
    assert output == f"inside {sys.prefix} --port 1\n"
    assert not (checkout / ".venv").exists()
