from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB_NEVER_LOADS = ["torch", "librosa", "onnxruntime", "soundfile", "scipy", "numba", "stripe"]


def test_the_import_contracts_hold() -> None:
    """Runs import-linter in a process of its own: it keeps a graph of the whole tree."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


def test_the_web_process_loads_no_engine() -> None:
    script = f"import sys, voicecloud.asgi; print(*[name for name in {WEB_NEVER_LOADS!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_the_client_and_the_site_know_nothing_of_each_other() -> None:
    own = re.compile(r"^\s*(?:from|import) (?:apps|ml|voicecloud|django)\b(?!_client)", re.MULTILINE)
    paths = list((ROOT / "client").rglob("*.py"))
    assert len(paths) > 20
    assert [path for path in paths if own.search(path.read_text())] == []
    for folder in ("apps", "ml", "voicecloud"):
        assert [path for path in (ROOT / folder).rglob("*.py") if "voicecloud_client" in path.read_text()] == []


def test_nobody_imports_the_wiring() -> None:
    for folder in ("apps", "ml"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert "import voicecloud" not in text and "from voicecloud" not in text, path


def test_one_module_speaks_to_stripe() -> None:
    """Others may name its types for the type checker, and ask through ``apps.billing.stripe``."""
    for path in (ROOT / "apps").rglob("*.py"):
        if path != ROOT / "apps" / "billing" / "stripe.py":
            text = path.read_text().replace("if TYPE_CHECKING:\n    from stripe", "")
            assert "import stripe\n" not in text.replace("from apps.billing import stripe\n", ""), path
            assert "\nfrom stripe" not in text, path
