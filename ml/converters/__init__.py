"""Ways of converting inside the engine; each is one line in `ml.catalog.CONVERTERS`."""

from __future__ import annotations
