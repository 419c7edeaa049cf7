"""`python -m ml.base prepare|adopt|teach|train|evaluate|export`: the base model from open recordings, step by step."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from ml import device
from ml.catalog import DEVICES
from ml.errors import EngineError

SHIPPED = Path(__file__).parents[1] / "weights"


def main() -> int:
    """Parses the command line and runs one step. Returns the exit status."""
    arguments = _parser().parse_args()
    torch.set_num_threads(1)
    try:
        device.choose(arguments.device)
        _run(arguments)
    except (EngineError, FileExistsError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _run(arguments: argparse.Namespace) -> None:
    if arguments.command == "prepare":
        from ml.base.prepare import prepare

        prepare(arguments.data, arguments.work, arguments.workers, _report)
    elif arguments.command == "adopt":
        from ml.base.adopt import adopt

        adopt(arguments.start, arguments.work)
    elif arguments.command == "teach":
        from ml.base.teaching import teach

        teach(arguments.data, arguments.work, _report)
    elif arguments.command == "train":
        _train(arguments)
    elif arguments.command == "evaluate":
        from ml.base.evaluate import evaluate

        print(json.dumps(evaluate(arguments.data, arguments.work), indent=1))
    else:
        from ml.base.export import export

        export(arguments.data, arguments.work, arguments.out, arguments.version)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml.base", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/speech/train"), help="corpus with manifest.csv")
    parser.add_argument("--work", type=Path, default=Path(".work/base"), help="packed data and checkpoints")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to train (default: on a GPU)")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="pack samples, pitch and phone labels")
    prepare.add_argument("--workers", type=int, default=1)
    adopt = commands.add_parser("adopt", help="let trainings go on from weights that are there, not from nothing")
    adopt.add_argument("--start", type=Path, default=SHIPPED, help="folder with weights and card; default: as shipped")
    commands.add_parser("teach", help="listen to the corpus with the teacher, for the content encoder to learn from")
    train = commands.add_parser("train", help="train one network; goes on where it was stopped")
    train.add_argument("network", choices=["content", "speaker", "decoder", "enhancer"])
    train.add_argument("--steps", type=int, required=True)
    train.add_argument("--taught-from", type=int, help="content: the step from which the teacher is learnt from")
    train.add_argument("--judged-from", type=int, help="decoder: the step at which the judges join")
    train.add_argument("--seed", type=int, default=1)
    commands.add_parser("evaluate", help="measure the trained networks on the held-out speakers")
    export = commands.add_parser("export", help="write the shipped weights and their card")
    export.add_argument("--out", type=Path, default=SHIPPED)
    export.add_argument("--version", required=True, help="what voices trained on these weights will remember")
    return parser


def _train(arguments: argparse.Namespace) -> None:
    if arguments.network == "content":
        from ml.base.content_training import train_content

        train_content(arguments.data, arguments.work, arguments.steps, arguments.seed, arguments.taught_from)
    elif arguments.network == "speaker":
        from ml.base.speaker_training import train_speaker

        train_speaker(arguments.data, arguments.work, arguments.steps, arguments.seed)
    elif arguments.network == "enhancer":
        from ml.base.enhancer_training import train_enhancer

        train_enhancer(arguments.data, arguments.work, arguments.steps, arguments.seed)
    else:
        from ml.base.decoder_training import train_decoder

        judged_from = arguments.steps if arguments.judged_from is None else arguments.judged_from
        train_decoder(arguments.data, arguments.work, arguments.steps, judged_from, arguments.seed)


def _report(fraction: float, stage: str) -> None:
    print(f"{fraction:6.1%} {stage}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
