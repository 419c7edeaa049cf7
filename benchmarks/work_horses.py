"""Measures three ways to run short conversions in a row: a process that stays, a fork for each, a fresh one for each.

    python benchmarks/work_horses.py [--conversions 20] [--seconds 3]

Prints a Markdown table: from the order to the finished file, by an instant voice made of synthetic speech. The first
conversion of a process that stays is shown by itself. Memory is what the process that stays holds in the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from apps.jobs.resident import Resident  # noqa: E402
from ml.audio import save  # noqa: E402
from ml.catalog import CONVERTERS  # noqa: E402
from ml.engine import Engine  # noqa: E402
from ml.options import ConvertOptions  # noqa: E402
from tests.sounds import speech  # noqa: E402

FRESH = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from benchmarks.work_horses import convert
convert(Path(sys.argv[2]))
"""
engine: Engine | None = None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    for converter in CONVERTERS.values():
        converter.load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder, options.seconds)
        kept, memory = _stays(folder, options.conversions)
        rows = [
            ("a process that stays, its first", kept[:1]),
            ("a process that stays", kept[1:]),
            ("a fork for each", [timed(lambda: _forked(folder)) for _ in range(options.conversions)]),
            ("a fresh process for each", [timed(lambda: _fresh(folder)) for _ in range(options.conversions)]),
        ]
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.seconds:g} s of speech, milliseconds\n")
    print("| way | median | P95 |\n|---|---|---|")
    for name, seconds in rows:
        ordered = sorted(1000 * value for value in seconds)
        print(f"| {name} | {ordered[len(ordered) // 2]:.0f} | {ordered[int(0.95 * (len(ordered) - 1))]:.0f} |")
    print(f"\nThe process that stays holds {memory / 2**20:.0f} MB of its own in the end.")


def convert(folder: Path) -> None:
    """Convert the source of the folder in this process, with what the process has kept."""
    global engine
    engine = engine or Engine(threads=1, voices=3)
    voice = engine.voice("voice", lambda: folder / "voice")
    engine.convert(voice, folder / "source.wav", folder / "out.wav", options=ConvertOptions(pitch=0.0))


def timed(call: Callable[[], None]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _prepare(folder: Path, seconds: float) -> None:
    """Make voice and source in a process of its own, so that this one loads nothing a fork would inherit."""
    if (pid := os.fork()) == 0:
        takes = [folder / f"take-{seed}.wav" for seed in range(4)]
        for seed, take in enumerate(takes):
            save(take, speech(8.0, seed=seed), 24_000)
        save(folder / "source.wav", speech(seconds, seed=9), 24_000)
        Engine(threads=1).instant(takes, folder / "voice")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def _order(horse: Resident, folder: Path) -> None:
    assert horse.order(str(folder))
    assert horse.wait() is None


def _carry_out(order: str) -> bool:
    convert(Path(order))
    return True


def _stays(folder: Path, count: int) -> tuple[list[float], int]:
    horse = Resident.start(lambda: None, _carry_out)
    seconds = [timed(lambda: _order(horse, folder)) for _ in range(count)]
    fields = Path(f"/proc/{horse.pid}/statm").read_text(encoding="ascii").split()
    horse.end()
    return seconds, (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def _forked(folder: Path) -> None:
    horse = Resident.start(lambda: None, _carry_out)
    _order(horse, folder)
    horse.end()


def _fresh(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", FRESH, str(ROOT), str(folder)], check=True, timeout=120)


if __name__ == "__main__":
    main()
