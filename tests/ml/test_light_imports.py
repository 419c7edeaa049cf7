"""What forms and probes import stays light: no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ml.catalog import CONVERTERS, F0_METHODS, PRESETS
from ml.converters.base import Preset


@pytest.mark.parametrize(
    "module", ["ml", "ml.catalog", "ml.probe", "ml.decode", "ml.errors", "ml.options", "ml.engine"]
)
def test_importing_it_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_every_entry_of_the_catalogue_names_something_that_is_there() -> None:
    for table in (CONVERTERS, F0_METHODS, PRESETS):
        for name, entry in table.items():
            assert entry.label and entry.description.endswith(".")
            assert callable(entry.load()) or isinstance(entry.load(), Preset), name
