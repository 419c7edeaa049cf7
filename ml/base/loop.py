"""The loop that all trainings of the base share: schedule, checkpoint every minute, resume, log."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SAVE_SECONDS = 60.0
LOG_STEPS = 25
Part = nn.Module | torch.optim.Optimizer
Step = Callable[[int], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Run:
    """One training: its name under `work`, the length, the seed, and what is saved and resumed."""

    name: str
    work: Path
    steps: int
    seed: int
    parts: Mapping[str, Part]

    @property
    def state_path(self) -> Path:
        """Where the resumable state lies."""
        return self.work / f"{self.name}.state"


def adamw(network: nn.Module, rate: float) -> torch.optim.AdamW:
    """The optimiser of every network here; norms, biases and scales are not decayed."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def cosine(step: int, steps: int, warm_up: int = 50, floor: float = 0.02) -> float:
    """Share of the full learning rate at `step`: linear warm-up, then half a cosine down to `floor`."""
    if step < warm_up:
        return (step + 1) / warm_up
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def descend(
    loss: Tensor, network: nn.Module, optimiser: torch.optim.Optimizer, rate: float, limit: float = 1.0
) -> None:
    """One update of `network` at learning rate `rate`, gradients clipped to the norm `limit`."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), limit)
    optimiser.step()


def run(plan: Run, step: Step) -> None:
    """Calls `step(index)` until `plan.steps`, from where an earlier run left off; appends to `<name>.jsonl`."""
    start, seconds = _resume(plan)
    sums: dict[str, float] = {}
    began = saved = time.monotonic()
    for index in range(start, plan.steps):
        torch.manual_seed(plan.seed * 1_000_003 + index)
        for name, value in step(index).items():
            sums[name] = sums.get(name, 0.0) + float(value)
        if (index + 1) % LOG_STEPS == 0:
            _log(plan, index + 1, seconds + time.monotonic() - began, {k: v / LOG_STEPS for k, v in sums.items()})
            sums = {}
        if time.monotonic() - saved > SAVE_SECONDS or index + 1 == plan.steps:
            saved = time.monotonic()
            _save(plan, index + 1, seconds + saved - began)


def _log(plan: Run, step: int, seconds: float, means: Mapping[str, float]) -> None:
    row = {"step": step, "seconds": round(seconds, 1), **{name: round(mean, 4) for name, mean in means.items()}}
    with (plan.work / f"{plan.name}.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
    print(plan.name, row, flush=True)


def _save(plan: Run, step: int, seconds: float) -> None:
    parts = {name: part.state_dict() for name, part in plan.parts.items()}
    write_state(plan.state_path, {"step": step, "seconds": seconds, "parts": parts})


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a training's state so that a stop at any moment leaves the old or the new one, whole."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        torch.save(dict(state), stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _resume(plan: Run) -> tuple[int, float]:
    if not plan.state_path.exists():
        return 0, 0.0
    state = torch.load(plan.state_path, weights_only=True, map_location=torch.get_default_device())
    known = state["parts"]
    # Weights that were adopted come without optimisers and heads; any other state must hold all that is trained.
    parts = {name: part for name, part in plan.parts.items() if name in known or not state.get("adopted")}
    for name, part in parts.items():
        part.load_state_dict(known[name])
    return int(state["step"]), float(state["seconds"])


def load_part(work: Path, run_name: str, part: str, network: nn.Module) -> dict[str, float]:
    """Fills `network` from the state of an earlier training; returns its steps and seconds."""
    state = torch.load(work / f"{run_name}.state", weights_only=True, map_location=torch.get_default_device())
    network.load_state_dict(state["parts"][part])
    return {"steps": state["step"], "seconds": round(state["seconds"], 1)}
