"""What the command line shows: results on stdout, as text or as JSON lines; progress and problems on stderr."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from voicecloud_client.decoding import encode
from voicecloud_client.models import Job

_BAR_CELLS = 24
_LABEL_CELLS = 28


def plain(text: object) -> str:
    """Return a text from the site without what would steer the terminal."""
    return "".join(each if each.isprintable() else "?" for each in str(text))


class Screen:
    """The two streams, and how much of them is wanted."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def show(self, value: Any, *lines: str) -> None:
        """Show a result: as one line of JSON, or as these lines for people."""
        if self.as_json:
            sys.stdout.write(json.dumps(encode(value), ensure_ascii=False) + "\n")
        else:
            sys.stdout.write("".join(f"{plain(line)}\n" for line in lines))
        sys.stdout.flush()

    def table(self, values: Iterable[Any], heads: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
        """Show a list: one line of JSON for each, or a table."""
        if self.as_json:
            for value in values:
                self.show(value)
            return
        cells = [[plain(cell) for cell in row] for row in rows]
        if not cells:
            self.show(None, empty)
            return
        widths = [max(len(line[column]) for line in [list(heads), *cells]) for column in range(len(heads))]
        for line in [list(heads), *cells]:
            self.show(None, "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def tell(self, sentence: str) -> None:
        """Say something that is no result."""
        sys.stderr.write(f"{plain(sentence)}\n")
        sys.stderr.flush()

    def ask(self, question: str) -> bool:
        """Ask for a yes; without somebody at a terminal the answer is no."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        sys.stderr.write(f"{plain(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")


class Bar:
    """One line of progress on stderr when that is a terminal, nothing otherwise; used in a ``with`` block."""

    def __init__(self, label: str) -> None:
        self.label, self.shown = plain(label), sys.stderr.isatty()

    def bytes(self, what: str) -> Any:
        """Return a function that shows how many bytes have gone."""
        return lambda done, size: self.draw(done / size if size else 0.0, what)

    def job(self, job: Job) -> None:
        """Show how a job goes on."""
        left = "" if job.seconds_left is None else f", {_clock(job.seconds_left)} left"
        self.draw(job.progress, f"{job.stage or job.status}{left}")

    def draw(self, share: float, what: str) -> None:
        """Show a share from 0 to 1 and what is being done."""
        if not self.shown:
            return
        share = min(max(share, 0.0), 1.0)
        filled = int(share * _BAR_CELLS)
        label = self.label if len(self.label) <= _LABEL_CELLS else f"{self.label[: _LABEL_CELLS - 1]}…"
        line = f"{label:<{_LABEL_CELLS}} [{'#' * filled}{'.' * (_BAR_CELLS - filled)}] {share:4.0%} {plain(what)}"
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{line[:width]}")
        sys.stderr.flush()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
