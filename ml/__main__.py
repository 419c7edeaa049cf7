"""The engine from the command line: `python -m ml train|instant|convert|stream|evaluate|export-onnx`.

Exit status: 0 done, 2 bad arguments (also a bad voice file), 3 bad audio; one sentence on standard error.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ml import evaluation_command
from ml.catalog import DEVICES, F0_METHODS, PRECISIONS, PRESETS, SCALES
from ml.decode import decode
from ml.errors import AudioError, EngineError

if TYPE_CHECKING:
    from ml.converters.base import Report
    from ml.takes import TakeInfo

BAD_ARGUMENTS, BAD_AUDIO, INTERRUPTED = 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    chosen = _parser().parse_args(arguments)
    try:
        run: Callable[[argparse.Namespace], None] = chosen.run
        run(chosen)
    except AudioError as error:
        print(error, file=sys.stderr)
        return BAD_AUDIO
    except EngineError as error:
        print(error, file=sys.stderr)
        return BAD_ARGUMENTS
    except KeyboardInterrupt:
        print("Stopped; a training goes on with --resume.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml", description="Train voices and convert sound into them.")
    commands = parser.add_subparsers(required=True, metavar="train|instant|convert|stream|evaluate|export-onnx")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--quiet", action="store_true", help="no progress, no summary")
    shared.add_argument("--converter", default="native", help=argparse.SUPPRESS)
    shared.add_argument("--threads", type=int, help="processor threads (default: 2)")
    shared.add_argument("--device", choices=DEVICES, default="auto", help="where to compute (default: on a GPU)")
    _add_train(commands, shared)
    _add_convert(commands, shared)
    _add_stream(commands, shared)
    _add_evaluate(commands, shared)
    _add_export(commands, shared)
    return parser


def _add_train(commands: Any, shared: argparse.ArgumentParser) -> None:
    train = commands.add_parser("train", parents=[shared], help="train a voice on recordings of one speaker")
    train.add_argument("voice", type=Path, metavar="OUT.voice")
    train.add_argument("recordings", type=Path, nargs="+", metavar="RECORDING")
    train.add_argument("--preset", choices=PRESETS, default="balanced")
    train.add_argument("--steps", type=int, help="optimiser steps instead of the preset's")
    train.add_argument("--batch", type=int, help="clips in a step instead of the preset's")
    train.add_argument("--learning-rate", type=float, help="instead of the preset's")
    train.add_argument("--precision", choices=PRECISIONS, default="auto")
    train.add_argument("--denoise", type=float, default=0.5, help="0 to 1: less noise in the voice (default 0.5)")
    train.add_argument("--f0-method", choices=F0_METHODS, default="swift")
    train.add_argument("--save-seconds", type=float, default=10.0, help="longest time between checkpoints (default 10)")
    train.add_argument(
        "--patience",
        type=int,
        default=6,
        help="checks without a gain before a long training stops (default 6; 0 never)",
    )
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--resume", action="store_true", help="go on with a training that was stopped")
    train.set_defaults(run=_train)
    instant = commands.add_parser("instant", parents=[shared], help="make a voice at once, without training")
    instant.add_argument("voice", type=Path, metavar="OUT.voice")
    instant.add_argument("recordings", type=Path, nargs="+", metavar="RECORDING")
    instant.set_defaults(run=_instant)


def _add_convert(commands: Any, shared: argparse.ArgumentParser) -> None:
    convert = commands.add_parser("convert", parents=[shared], help="convert speech or singing into a voice")
    convert.add_argument("voice", type=Path, metavar="OUT.voice")
    convert.add_argument("source", type=Path, metavar="IN")
    convert.add_argument("out", type=Path, metavar="OUT", help=".wav, .flac, .mp3, .ogg or .m4a")
    convert.add_argument("--pitch", type=_pitch, default="auto", metavar="SEMITONES|auto")
    convert.add_argument("--retrieval", type=float, default=0.7, help="0 to 1: closer to the voice (default 0.7)")
    convert.add_argument("--denoise", type=float, default=0.5, help="0 to 1: less background noise (default 0.5)")
    convert.add_argument("--formant", type=float, default=0.0, help="-12 to 12 semitones: the throat, not the pitch")
    convert.add_argument("--protection", type=float, default=0.0, help="0 to 1: keep own consonants and breath")
    convert.add_argument("--envelope", type=float, default=0.0, help="0 to 1: follow the source's loudness")
    convert.add_argument("--pitch-smoothing", type=float, default=0.0, metavar="MS", help="0 to 100 (default 0)")
    convert.add_argument("--autotune", type=float, default=0.0, help="0 to 1: move the pitch to the scale's notes")
    convert.add_argument("--scale", choices=SCALES, default="chromatic", metavar="SCALE", help='such as "C major"')
    convert.add_argument("--retune", type=float, default=50.0, metavar="MS", help="0 (at once) to 400 (default 50)")
    convert.add_argument("--no-high-pass", dest="high_pass", action="store_false", help="keep what is below the voice")
    convert.add_argument("--preset", choices=PRESETS, default="balanced")
    convert.add_argument("--f0-method", choices=F0_METHODS, default="swift")
    convert.add_argument("--sample-rate", type=int, help="16000 to 48000 (default: the source's)")
    convert.add_argument("--format", choices=("wav16", "wav24", "flac", "mp3", "ogg", "m4a"))
    convert.add_argument("--loudness", type=float, help="LUFS of the result (default: as the source)")
    convert.add_argument("--seed", type=int, default=0)
    convert.add_argument("--report", type=Path, help="write figures and curves here as JSON")
    convert.set_defaults(run=_convert)


def _add_stream(commands: Any, shared: argparse.ArgumentParser) -> None:
    stream = commands.add_parser("stream", parents=[shared], help="convert a file as if it were spoken just now")
    stream.add_argument("voice", type=Path, metavar="OUT.voice")
    stream.add_argument("source", type=Path, metavar="IN")
    stream.add_argument("out", type=Path, metavar="OUT", help=".wav or .flac")
    stream.add_argument("--pitch", type=_pitch, default="auto", metavar="SEMITONES|auto")
    stream.add_argument("--retrieval", type=float, default=0.7, help="0 to 1: closer to the voice (default 0.7)")
    stream.add_argument("--sample-rate", type=int, default=48_000, help="16000 to 48000 (default 48000)")
    stream.add_argument("--chunk-ms", type=int, default=100, help="milliseconds in a push (default 100)")
    stream.add_argument("--seed", type=int, default=0)
    stream.set_defaults(run=_stream)


def _add_evaluate(commands: Any, shared: argparse.ArgumentParser) -> None:
    evaluate = commands.add_parser("evaluate", parents=[shared], help="measure conversions by independent judges")
    evaluation_command.add_arguments(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _add_export(commands: Any, shared: argparse.ArgumentParser) -> None:
    export = commands.add_parser("export-onnx", parents=[shared], help="write the networks as ONNX files")
    export.add_argument("folder", type=Path, metavar="OUT_DIR")
    export.add_argument("--voice", type=Path, help="a voice file whose decoder to write instead of the base's")
    export.set_defaults(run=_export)


def _pitch(text: str) -> float | str:
    return text if text == "auto" else float(text)


def _train(chosen: argparse.Namespace) -> None:
    from ml.engine import Engine, TrainOptions

    folder = chosen.voice.with_name(chosen.voice.name + ".work")
    if not chosen.resume:
        shutil.rmtree(folder, ignore_errors=True)
    engine = Engine(converter=chosen.converter, threads=chosen.threads, device=chosen.device)
    progress = _progress(chosen.quiet)
    takes = _takes(engine, chosen.recordings, folder / "takes", progress)
    options = TrainOptions(
        preset=chosen.preset,
        steps=chosen.steps,
        batch=chosen.batch,
        learning_rate=chosen.learning_rate,
        precision=chosen.precision,
        denoise=chosen.denoise,
        f0_method=chosen.f0_method,
        seed=chosen.seed,
        save_seconds=chosen.save_seconds,
        patience=chosen.patience,
    )
    result = engine.train(takes, chosen.voice, options=options, workdir=folder / "run", report=progress)
    shutil.rmtree(folder)
    _say(chosen, f"{chosen.voice}: {result.steps} steps in {result.seconds:.0f} s, {_figures(result.metrics)}")


def _instant(chosen: argparse.Namespace) -> None:
    from ml.engine import Engine

    engine = Engine(converter=chosen.converter, threads=chosen.threads, device=chosen.device)
    progress = _progress(chosen.quiet)
    with TemporaryDirectory() as folder:
        takes = _takes(engine, chosen.recordings, Path(folder), progress)
        result = engine.instant(takes, chosen.voice, report=progress)
    _say(chosen, f"{chosen.voice}: ready in {result.seconds:.1f} s, {_figures(result.metrics)}")


def _takes(engine: Any, recordings: Sequence[Path], folder: Path, report: Report) -> list[Path]:
    """The usable takes of the recordings, cut anew each time: the same recordings give the same takes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    infos: list[TakeInfo] = []
    for index, recording in enumerate(recordings):
        report(index / len(recordings), f"Reading {recording.name}")
        decoded = folder / f"{index:04d}.flac"
        try:
            decode(recording.resolve(), decoded, mono=True)
            infos += engine.slice(decoded, folder / f"{index:04d}")
        except AudioError as error:
            raise AudioError(f"{recording}: {error}") from None
        decoded.unlink()
    preflight = engine.preflight(infos)
    usable = [info for index, info in enumerate(infos) if info.usable and index not in preflight.outliers]
    if not usable:
        raise AudioError(preflight.missing[0])
    return [info.path for info in usable]


def _convert(chosen: argparse.Namespace) -> None:
    from ml.encoding import SUFFIXES
    from ml.engine import ConvertOptions, Engine

    kinds = {suffix: kind for kind, suffix in reversed(SUFFIXES.items())}
    kind = chosen.format or kinds.get(chosen.out.suffix.lower())
    if kind is None:
        raise EngineError("The result's name must end in .wav, .flac, .mp3, .ogg or .m4a, or give --format.")
    options = ConvertOptions(
        pitch=chosen.pitch,
        retrieval=chosen.retrieval,
        denoise=chosen.denoise,
        formant=chosen.formant,
        protection=chosen.protection,
        envelope=chosen.envelope,
        pitch_smoothing=chosen.pitch_smoothing,
        autotune=chosen.autotune,
        scale=chosen.scale,
        retune=chosen.retune,
        high_pass=chosen.high_pass,
        preset=chosen.preset,
        f0_method=chosen.f0_method,
        sample_rate=chosen.sample_rate,
        format=kind,
        loudness=chosen.loudness,
        seed=chosen.seed,
    )
    engine = Engine(converter=chosen.converter, threads=chosen.threads, device=chosen.device)
    with TemporaryDirectory() as folder:
        source = Path(folder) / "source.wav"
        decode(chosen.source.resolve(), source)
        result = engine.convert(chosen.voice, source, chosen.out, options=options, report=_progress(chosen.quiet))
    if chosen.report:
        content = asdict(result) | {"path": str(result.path), "options": asdict(options)}
        chosen.report.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _say(chosen, f"{chosen.out}: pitch {result.pitch:+.1f} semitones, {_figures(result.metrics)}")


def _stream(chosen: argparse.Namespace) -> None:
    from ml.audio import blocks, save
    from ml.engine import Engine, StreamOptions

    if chosen.out.suffix.lower() not in (".wav", ".flac"):
        raise EngineError("The result's name must end in .wav or .flac.")
    if chosen.chunk_ms < 1:
        raise EngineError("A chunk must last at least 1 ms.")
    options = StreamOptions(pitch=chosen.pitch, retrieval=chosen.retrieval, seed=chosen.seed)
    engine = Engine(converter=chosen.converter, threads=chosen.threads, device=chosen.device)
    stream = engine.stream(chosen.voice, chosen.sample_rate, options=options)
    engine.warm()
    with TemporaryDirectory() as folder:
        source = Path(folder) / "source.wav"
        decode(chosen.source.resolve(), source, mono=True)
        samples = np.concatenate([np.zeros(0, np.float32), *blocks(source, chosen.sample_rate)])
    size, made, seconds = chosen.sample_rate * chosen.chunk_ms // 1000, [], []
    for start in range(0, len(samples), size):
        started = time.perf_counter()
        made.append(stream.push(samples[start : start + size]))
        seconds.append(time.perf_counter() - started)
    save(chosen.out, np.concatenate([*made, stream.flush()]), chosen.sample_rate)
    slow = 1000 * float(np.percentile(seconds, 95)) if seconds else 0.0
    told = f"delay {1000 * stream.delay_seconds:.0f} ms, 95 % of the chunks ready within {slow:.1f} ms"
    _say(chosen, f"{chosen.out}: {told}")


def _export(chosen: argparse.Namespace) -> None:
    from ml.export import export_onnx

    _say(chosen, ", ".join(str(path) for path in export_onnx(chosen.folder, chosen.voice)))


def _evaluate(chosen: argparse.Namespace) -> None:
    print(evaluation_command.evaluate(chosen, _progress(chosen.quiet)))


def _figures(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in metrics.items())


def _say(chosen: argparse.Namespace, text: str) -> None:
    if not chosen.quiet:
        print(text)


def _progress(quiet: bool) -> Report:
    """A bar on a terminal, nothing elsewhere."""
    started = time.monotonic()

    def draw(fraction: float, stage: str) -> None:
        if quiet or not sys.stderr.isatty():
            return
        done = int(30 * fraction)
        line = f"[{'#' * done}{'.' * (30 - done)}] {fraction:4.0%} {time.monotonic() - started:5.0f} s  {stage}"
        print(f"\r{line[:110]:<110}", end="\n" if fraction >= 1.0 else "", file=sys.stderr, flush=True)

    return draw


if __name__ == "__main__":
    sys.exit(main())
