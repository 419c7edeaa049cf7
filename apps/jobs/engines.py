"""The engines of this process, loaded once each. The only module of the site that loads the engine."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from ml.engine import Engine

_engines: list[Engine] = []


@lru_cache(maxsize=4)
def load_engine(converter: str) -> Engine:
    """Return this process's engine for a converter by name."""
    from ml.engine import Engine

    engine = Engine(converter=converter, device=settings.ENGINE_DEVICE, voices=settings.MODEL_CACHE_SIZE)
    _engines.append(engine)
    return engine


def cache_now() -> dict[str, int]:
    """Return what this process's engines did with opened voices so far (hits, misses, evictions), and how many they
    hold now (held)."""
    counts = [engine.cache.counts for engine in _engines]
    return {
        "hits": sum(each.hits for each in counts),
        "misses": sum(each.misses for each in counts),
        "evictions": sum(each.evictions for each in counts),
        "held": sum(len(engine.cache) for engine in _engines),
    }
