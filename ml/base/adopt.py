"""Begins trainings from weights that are already there, such as those that ship, instead of from nothing."""

from __future__ import annotations

import json
from pathlib import Path

from ml.base.export import PARTS
from ml.base.loop import write_state
from ml.weights import CARD, load_base

ADOPTED = "adopted.json"
"""What the adopted base's card says of its evaluation; a network that is not trained on keeps its figures."""


def adopt(folder: Path, work: Path) -> None:
    """Writes a state to `work` for every network of the base in `folder`, so that its training goes on from there.

    Weights alone are shipped: optimisers, and heads that only training uses, begin anew. Steps and seconds are those
    of the card. Raises WeightsError when the base is damaged, FileExistsError when `work` holds a training already.
    """
    base = load_base(folder)
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    training = card["training"]
    networks = {
        "bridge": base.hearing.bridge,
        "content": base.content,
        "speaker": base.speaker,
        "decoder": base.decoder,
        "discriminators": base.discriminators,
        "enhancer": base.enhancer,
    }
    states: dict[str, dict[str, object]] = {}
    for name, (run, part) in PARTS.items():
        states.setdefault(run, {})[part] = networks[name].state_dict()
    work.mkdir(parents=True, exist_ok=True)
    taken = [run for run in states if (work / f"{run}.state").exists()]
    if taken:
        raise FileExistsError(f"{work} holds trainings of {', '.join(taken)} already; give another --work.")
    for run, parts in states.items():
        written = {"step": training[run]["steps"], "seconds": training[run]["seconds"], "parts": parts}
        write_state(work / f"{run}.state", {**written, "adopted": True})
    (work / ADOPTED).write_text(json.dumps(card["evaluation"]), encoding="utf-8")
