"""Models, sources, conversions and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from voicecloud_client.decoding import given
from voicecloud_client.downloads import download
from voicecloud_client.models import Batch, BatchDetail, Conversion, ConversionDetail, Job, Model, Source
from voicecloud_client.nouns.jobs import Jobs
from voicecloud_client.nouns.noun import Code, Noun, at
from voicecloud_client.options import Options, Training
from voicecloud_client.transport import Progress

USUAL = Options()


class Models(Noun):
    """Trained versions of voices."""

    def list(self, voice: Code) -> Iterator[Model]:
        """Yield a voice's models."""
        return self._wire.items(Model, at("voices", voice, "models"))

    def train(self, voice: Code, options: Training = Training()) -> Model:  # noqa: B008  # it is frozen
        """Train a new model of a voice; ``jobs.wait(model.job)`` returns when it has ended."""
        return self._wire.json(Model, "POST", at("voices", voice, "models"), body=given(options))

    def instant(self, voice: Code) -> Model:
        """Make an instant model: no training, less alike."""
        return self._wire.json(Model, "POST", at("voices", voice, "models", "instant"))

    def get(self, model: Code) -> Model:
        """Return one model."""
        return self._wire.json(Model, "GET", at("models", model))

    def activate(self, model: Code) -> Model:
        """Make a model the one that conversions use."""
        return self._wire.json(Model, "POST", at("models", model, "activate"))

    def delete(self, model: Code) -> None:
        """Delete a model, its file and samples."""
        self._wire.send("DELETE", at("models", model))

    def resources(self, model: Code) -> dict[str, Any]:
        """Return what a training took of its machine."""
        return self._wire.json(dict[str, Any], "GET", at("models", model, "resources"))


class Sources(Noun):
    """Files that conversions start from."""

    def list(self) -> Iterator[Source]:
        """Yield the workspace's sources."""
        return self._wire.items(Source, at("sources"))

    def add(self, file: Path, *, progress: Progress | None = None) -> Source:
        """Bring a file to convert; the same bytes again are the same source."""
        return self._wire.json(Source, "POST", at("sources"), files={"file": file}, progress=progress)

    def get(self, source: Code) -> Source:
        """Return one source."""
        return self._wire.json(Source, "GET", at("sources", source))

    def download(self, source: Code, target: Path, *, sha256: str = "", progress: Progress | None = None) -> Path:
        """Save a source as it was received."""
        return download(self._wire, at("sources", source, "audio"), target, sha256=sha256, progress=progress)


class Conversions(Noun):
    """Sources converted into voices."""

    def list(self) -> Iterator[Conversion]:
        """Yield the workspace's conversions."""
        return self._wire.items(Conversion, at("conversions"))

    def create(
        self, file: Path, voice: Code, options: Options = USUAL, *, progress: Progress | None = None
    ) -> Conversion:
        """Send a file and convert it into a voice that has an active model."""
        return self._wire.json(
            Conversion,
            "POST",
            at("conversions", "upload"),
            form=given(options, voice=voice),
            files={"file": file},
            progress=progress,
        )

    def create_from(self, source: Code, voice: Code, options: Options = USUAL) -> Conversion:
        """Convert a source that is there already."""
        body = given(voice=voice, source=source, options=given(options))
        return self._wire.json(Conversion, "POST", at("conversions"), body=body)

    def get(self, conversion: Code) -> ConversionDetail:
        """Return one conversion with what was measured of it."""
        return self._wire.json(ConversionDetail, "GET", at("conversions", conversion))

    def again(self, conversion: Code, options: Options = USUAL, *, voice: Code | None = None) -> Conversion:
        """Convert the same source again; what is not chosen stays as it was."""
        body = given(voice=voice, options=given(options))
        return self._wire.json(Conversion, "POST", at("conversions", conversion, "again"), body=body)

    def change(self, conversion: Code, *, kept: bool) -> Conversion:
        """Keep a conversion's files for ever, or let them expire again."""
        return self._wire.json(Conversion, "PATCH", at("conversions", conversion), body=given(kept=kept))

    def delete(self, conversion: Code) -> None:
        """Delete a conversion with its files."""
        self._wire.send("DELETE", at("conversions", conversion))

    def wait(
        self,
        conversion: Conversion,
        *,
        progress: Callable[[Job], None] | None = None,
        timeout: float | None = None,
    ) -> ConversionDetail:
        """Return the conversion when it is done. Raises as ``jobs.wait``."""
        Jobs(self._wire).wait(conversion.job, progress=progress, timeout=timeout)
        return self.get(conversion.id)

    def download(self, conversion: Code, target: Path, *, progress: Progress | None = None) -> Path:
        """Save what a conversion made. With its hash compared: ``artifacts.download`` of its ``result``."""
        return download(self._wire, at("conversions", conversion, "result"), target, progress=progress)

    def download_original(self, conversion: Code, target: Path, *, progress: Progress | None = None) -> Path:
        """Save what a conversion started from, as it was received."""
        return download(self._wire, at("conversions", conversion, "original"), target, progress=progress)


class Batches(Noun):
    """Many conversions that are started together."""

    def list(self) -> Iterator[Batch]:
        """Yield the workspace's batches."""
        return self._wire.items(Batch, at("batches"))

    def create(
        self, name: str, *, sources: Sequence[Code], voices: Sequence[Code], options: Options = USUAL
    ) -> BatchDetail:
        """Convert each source into each voice; what cannot be started is told and stops nothing else."""
        chosen = {"sources": [str(each) for each in sources], "voices": [str(each) for each in voices]}
        body = given(name=name, options=given(options), **chosen)
        return self._wire.json(BatchDetail, "POST", at("batches"), body=body)

    def get(self, batch: Code) -> BatchDetail:
        """Return one batch with its items."""
        return self._wire.json(BatchDetail, "GET", at("batches", batch))

    def cancel(self, batch: Code) -> BatchDetail:
        """Stop all of a batch that has not ended."""
        return self._wire.json(BatchDetail, "POST", at("batches", batch, "cancel"))
