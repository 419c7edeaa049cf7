"""Opened voices are kept: the ones used last, as many as was said, fewer when memory is short."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml import voicecache
from ml.audio import load, save
from ml.engine import ConvertOptions, Engine, WeightsError
from ml.voicecache import Counts, VoiceCache
from tests.sounds import speech


class Held:
    """Stands for an opened voice: the cache only holds it."""


def cache(size: int, free: int = 10**12) -> VoiceCache:
    return VoiceCache(size, lambda: free)


def get(kept: VoiceCache, *keys: str) -> None:
    for key in keys:
        kept.get(key, Held)  # type: ignore[arg-type]


def test_a_voice_is_loaded_once_while_it_is_kept() -> None:
    kept = cache(2)
    first = kept.get("a", Held)  # type: ignore[arg-type]
    assert kept.get("a", Held) is first  # type: ignore[arg-type]
    assert kept.counts == Counts(hits=1, misses=1, evictions=0)


def test_the_one_unused_for_longest_goes_first() -> None:
    kept = cache(2)
    get(kept, "a", "b", "a", "c", "a", "b")
    assert kept.counts == Counts(hits=2, misses=4, evictions=2)
    assert len(kept) == 2


def test_what_is_evicted_is_let_go() -> None:
    kept = cache(1)
    gone = weakref.ref(kept.get("a", Held))  # type: ignore[arg-type]
    get(kept, "b")
    gc.collect()
    assert gone() is None


def test_without_a_size_memory_alone_decides() -> None:
    get(roomy := cache(0), *map(str, range(100)))
    assert len(roomy) == 100
    get(short := cache(0, free=voicecache.SPARE_BYTES - 1), "a", "b", "c")
    assert (len(short), short.counts.evictions) == (1, 2)


def test_what_cannot_be_loaded_is_not_kept() -> None:
    kept = cache(3)

    def fail() -> Any:
        raise WeightsError("damaged")

    for _ in range(2):
        with pytest.raises(WeightsError):
            kept.get("a", fail)
    assert (len(kept), kept.counts.misses) == (0, 2)


def test_the_memory_of_this_machine_is_known() -> None:
    assert voicecache.free_bytes() > 10**6


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A toy voice and a source."""
    folder = tmp_path_factory.mktemp("voice")
    takes = [folder / f"{seed}.wav" for seed in range(2)]
    for seed, take in enumerate(takes):
        save(take, speech(6.0, seed=seed), 24_000)
    Engine(converter="toy", threads=1).instant(takes, folder / "a.voice")
    return folder / "a.voice", takes[0]


def test_a_kept_voice_makes_the_same_sound_and_its_file_is_asked_for_once(
    material: tuple[Path, Path], tmp_path: Path
) -> None:
    file, source = material
    engine = Engine(converter="toy", threads=1, voices=2)
    asked: list[Path] = []

    def fetch() -> Path:
        asked.append(file)
        return file

    def made(voice: Callable[[], Any]) -> np.ndarray[Any, Any]:
        engine.convert(voice(), source, tmp_path / "out.wav", options=ConvertOptions(seed=3))
        return load(tmp_path / "out.wav")[0]

    plain = made(lambda: file)
    for _ in range(2):
        assert np.array_equal(made(lambda: engine.voice("sha", fetch)), plain)
    assert asked == [file]
    assert engine.cache.counts == Counts(hits=1, misses=1, evictions=0)
