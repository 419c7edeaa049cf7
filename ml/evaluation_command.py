"""The arguments of `python -m ml evaluate`, and what it writes. Light until it runs: no torch, no judges."""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ml.catalog import PRESETS
from ml.errors import EngineError

if TYPE_CHECKING:
    from ml.converters.base import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what can be evaluated, how, and where the figures go."""
    what = parser.add_argument_group("what to evaluate (one of the first four)")
    what.add_argument("--sources", type=Path, nargs="+", default=[], metavar="DIR|FILE", help="to convert into --voice")
    what.add_argument("--result", type=Path, metavar="DIR|FILE", help="finished results, to judge beside --source")
    what.add_argument("--development", type=Path, metavar="DIR", help="train and judge the development set's voices")
    what.add_argument("--held-out", type=Path, metavar="DIR", help="the same for held-out speakers of a training set")
    what.add_argument("--source", type=Path, metavar="DIR|FILE", help="what --result was made from, of the same names")
    what.add_argument("--voice", type=Path, help="the voice file")
    what.add_argument(
        "--target", type=Path, nargs="+", default=[], metavar="DIR|FILE", help="recordings of the voice's own speaker"
    )
    what.add_argument("--limit", type=int, help="at most so many voices of a set")
    what.add_argument("--sources-a-voice", type=int, default=12)
    how = parser.add_argument_group("how")
    how.add_argument("--preset", choices=PRESETS, default="balanced")
    how.add_argument("--retrieval", type=float, default=0.7)
    how.add_argument(
        "--instant", action="store_true", help="voices of a set from 10 s of speech each, without training"
    )
    how.add_argument("--stream", action="store_true", help="convert as a live stream does, not as files")
    how.add_argument("--work", type=Path, default=Path(".work/evaluation"), help="what is made is kept here")
    how.add_argument("--jobs", type=int, default=1, help="so many processes, with one thread each (default 1)")
    where = parser.add_argument_group("where the figures go, besides the tables printed")
    where.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    where.add_argument("--html", type=Path, metavar="FILE", help="a report with plots; its figures beside it as JSON")
    where.add_argument("--date", default=date.today().isoformat(), help="the date in the report (default: today)")


def evaluate(chosen: argparse.Namespace, report: Report) -> str:
    """Does what was asked, writes the files asked for, and returns the tables as Markdown."""
    from ml.bench import Setting
    from ml.evaluation import Task, run
    from ml.tables import as_text

    if (chosen.result is None) != (chosen.source is None):
        raise EngineError("--result and --source belong together; give both.")
    if chosen.html:
        from ml import reporting

        reporting.check()
    task = Task(
        voice=chosen.voice,
        target=chosen.target,
        sources=chosen.sources,
        result=chosen.result,
        source=chosen.source,
        development=chosen.development,
        held_out=chosen.held_out,
        limit=chosen.limit,
        sources_a_voice=chosen.sources_a_voice,
    )
    setting = Setting(
        preset=chosen.preset,
        retrieval=chosen.retrieval,
        threads=chosen.threads,
        device=chosen.device,
        work=chosen.work,
        converter=chosen.converter,
        instant=chosen.instant,
        stream=chosen.stream,
    )
    found = run(task, setting, jobs=chosen.jobs, date=chosen.date, report=report)
    figures = chosen.json or (chosen.html and chosen.html.with_suffix(".json"))
    if figures:
        figures.write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")
    if chosen.html:
        chosen.html.write_text(reporting.as_html(found), encoding="utf-8")
    return "\n\n".join([as_text(found.tables), *found.failures])
