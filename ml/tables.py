"""The tables of an evaluation, from what its pieces found, and their text."""

from __future__ import annotations

from collections.abc import Sequence

from ml.averages import Row, mean
from ml.bench import Outcome
from ml.corpora import PLENTY_SECONDS, TRAINING_SHARE


def plain_tables(outcomes: Sequence[Outcome]) -> dict[str, list[Row]]:
    """Every conversion, their mean, and the speaker's natural speech where it is given."""
    conversions = [found.row for outcome in outcomes for found in outcome.conversions]
    natural = next((outcome.natural for outcome in outcomes if outcome.natural), [])
    tables = {"conversions": conversions, "mean": [mean("mean", conversions)]}
    return tables | ({"natural": natural} if natural else {})


def trained_tables(outcomes: Sequence[Outcome]) -> dict[str, list[Row]]:
    """A row a voice, their mean, directions, amounts of speech, singing, and natural speech beside them."""
    every = [found.row for outcome in outcomes for found in outcome.conversions]
    voices, songs, natural = [], [], []
    for outcome in outcomes:
        rows, facts = [found.row for found in outcome.conversions], outcome.facts
        voices.append(mean(f"{facts['name']} ({facts['sex']})", rows) | {"voice": facts["name"]} | _times(facts))
        songs += [mean(facts["name"], [found.row]) for found in outcome.songs]
        for row in outcome.natural:
            heard = [found["unconverted_secs"] for found in rows]
            natural.append(row | {"unconverted_secs": float(sum(heard) / max(1, len(heard)))})
    directions = sorted({row["direction"] for row in every})
    tables = {
        "voices": [*voices, mean("mean", every)],
        "directions": [mean(name, [row for row in every if row["direction"] == name]) for name in directions],
        "natural": natural,
    }
    tables |= _amounts(outcomes, every)
    return tables | ({"singing": songs} if songs else {})


def _amounts(outcomes: Sequence[Outcome], every: Sequence[Row]) -> dict[str, list[Row]]:
    """Voices of little speech apart from the others, where there are both."""
    least = TRAINING_SHARE * PLENTY_SECONDS
    little = {outcome.facts["name"] for outcome in outcomes if outcome.facts["speech_seconds"] < least}
    if not 0 < len(little) < len(outcomes):
        return {}
    kinds = (f"voices from {least:.0f} s or more", False), (f"voices from less than {least:.0f} s", True)
    return {"amounts": [mean(name, [row for row in every if (row["voice"] in little) == kind]) for name, kind in kinds]}


def _times(facts: Row) -> Row:
    return {key: facts[key] for key in ("speech_seconds", "training_seconds")}


def as_text(tables: dict[str, list[Row]]) -> str:
    """The tables in Markdown, each with the columns that any of its rows has."""
    lines: list[str] = []
    for title, rows in tables.items():
        columns = list(dict.fromkeys(key for row in rows for key in row if key != "intervals"))
        lines += ["", f"### {title}", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        for row in rows:
            lines.append("| " + " | ".join(_cell(row, column) for column in columns) + " |")
    return "\n".join(lines).strip()


def figure(row: Row, key: str) -> tuple[str, str]:
    """A row's figure with three decimals, and its interval if it has one, both as text; "" for what is not there."""
    value = row.get(key, "")
    if not isinstance(value, float):
        return str(value), ""
    span = row.get("intervals", {}).get(key)
    return f"{value:.3f}", f"{span[0]:.3f} to {span[1]:.3f}" if span else ""


def _cell(row: Row, key: str) -> str:
    value, span = figure(row, key)
    return f"{value} ({span})" if span else value
