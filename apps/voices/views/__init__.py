"""The pages of voices, one module a noun."""

from __future__ import annotations
