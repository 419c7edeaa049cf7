#!/usr/bin/env python3
"""All commands of the site. The first call makes .venv from the lock and goes on inside it."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
INSTALL_SECONDS = 3600


def main() -> int:
    """Run the command of the command line; return its exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036  # whoever starts it may have an older one
        print("voicecloud needs Python 3.11 or later; start it with such a python3.", file=sys.stderr)
        return 1
    command, arguments = (sys.argv[1:2] or ["help"])[0], sys.argv[2:]
    if sys.prefix == sys.base_prefix:  # inside any virtual environment all is taken to be there
        enter_environment("requirements.txt", *(["requirements-dev.txt"] if command == "test" else []))
    if command == "up":
        from voicecloud import up

        return up.main(arguments)
    if command == "test":
        from voicecloud import proof

        return proof.main(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voicecloud.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
    return 0


def enter_environment(*locks: str) -> None:
    """Make .venv hold what the lock files name, then become its Python. Exits with a sentence when it cannot."""
    # Two first calls at once: the second waits and finds the work done.
    with (ROOT / ".venv.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not PYTHON.exists():
            if importlib.util.find_spec("ensurepip") is None:
                sys.exit("This Python cannot make a virtual environment: run  apt-get install python3-venv  and retry.")
            print("Making .venv ...", flush=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True, timeout=INSTALL_SECONDS)
        for name in locks:
            install(ROOT / name)
    os.execv(PYTHON, [str(PYTHON), str(ROOT / "manage.py"), *sys.argv[1:]])


def install(lock: Path) -> None:
    """Install a lock file's packages unless that very file has been installed already."""
    stamp = VENV / f"{lock.name}.sha256"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"Installing the packages of {lock.name}; the first time takes minutes ...", flush=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    steps = [[*pip, "--no-deps", "-r", str(lock)]]
    torch = [line for line in lock.read_text().split() if line.startswith("torch==")]
    if torch:
        # The build of torch that this machine gets may need NVIDIA's libraries, which a lock for every machine
        # cannot name; all else in the lock is complete, so nothing has to be resolved.
        steps.insert(0, [*pip, "-c", str(lock), *torch])
    try:
        done = all(subprocess.run(step, timeout=INSTALL_SECONDS).returncode == 0 for step in steps)
    except subprocess.TimeoutExpired:
        done = False
    if not done:
        sys.exit(f"The packages of {lock.name} could not be installed; see above, and start the same command again.")
    stamp.write_text(digest)


if __name__ == "__main__":
    sys.exit(main())
