"""`python -m ml.base prepare|train|evaluate|export`: the base model from open recordings, step by step."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Parses the command line and runs one step."""
    parser = argparse.ArgumentParser(prog="python -m ml.base", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/speech/train"), help="corpus with manifest.csv")
    parser.add_argument("--work", type=Path, default=Path(".work/base"), help="packed data and checkpoints")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="pack samples, pitch and phone labels")
    prepare.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "prepare":
        from ml.base.prepare import prepare as run

        run(arguments.data, arguments.work, arguments.workers, _report)
    return 0


def _report(fraction: float, stage: str) -> None:
    print(f"{fraction:6.1%} {stage}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
