"""Checkpoints in generations: damage of any kind is noticed and costs the newest at most; a full disk costs none."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.generations import Generations


def saved(folder: Path, count: int = 3, numbers: int = 50) -> Generations:
    """Return the generations of a folder in which `count` were saved; the n-th says so."""
    folder.mkdir(exist_ok=True)
    states = Generations(folder, "state", keep=2)
    for number in range(1, count + 1):
        states.save({"a": torch.full((numbers,), float(number)), "n": torch.tensor(number)}, {"number": number})
    return states


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_generations_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    states = saved(tmp_path)
    found = states.newest()
    assert found and found.damaged == []
    assert found.metadata == {"number": 3} and found.tensors["n"].item() == 3
    assert [name[:13] for name in names(tmp_path)] == ["state-000002-", "state-000003-", "state.newest"]
    assert not Generations(tmp_path, "other", keep=1).newest()


@given(
    which=st.integers(0, 2),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    how=st.sampled_from(["flip", "cut", "empty", "remove", "longer"]),
)
@settings(max_examples=200, deadline=None)
def test_whatever_happens_to_one_file_the_newest_whole_state_is_found(
    tmp_path_factory: pytest.TempPathFactory, which: int, place: float, bit: int, how: str
) -> None:
    folder = tmp_path_factory.mktemp("states")
    states = saved(folder)
    hurt = sorted(folder.iterdir())[which]  # the older, the newest, the file that names the newest
    content = bytearray(hurt.read_bytes())
    at = int(place * len(content))
    if how == "remove":
        hurt.unlink()
    else:
        flipped = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
        hurt.write_bytes({"flip": flipped, "cut": content[:at], "empty": b"", "longer": content + b"\0"}[how])
    found = states.newest()
    number = 2 if which == 1 else 3
    assert found.metadata == {"number": number}
    assert torch.equal(found.tensors["a"], torch.full((50,), float(number)))
    assert bool(found.damaged) == (which == 1)
    states.forget(found.damaged)
    states.save({"a": torch.zeros(1)}, {"number": 4})
    assert states.newest().metadata == {"number": 4} and states.newest().damaged == []


def test_when_all_are_damaged_nothing_is_found_and_all_are_named(tmp_path: Path) -> None:
    states = saved(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    found = states.newest()
    assert not found and len(found.damaged) == 2
    states.forget(found.damaged)
    assert states.newest().damaged == []


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / ".state-000004-new.safetensors.77.tmp").write_bytes(b"half")
    Generations(tmp_path, "state", keep=2)
    assert len(names(tmp_path)) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    # Lazily: tensors that were read from its files are still mapped.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_on_a_full_disk_the_older_generation_makes_room(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    states = saved(small_disk, count=2, numbers=100_000)  # 400 kB each: two fit, three do not
    states.save({"a": torch.full((100_000,), 3.0)}, {"number": 3})
    assert states.newest().metadata == {"number": 3}
    assert [name[:12] for name in names(small_disk)] == ["state-000002", "state-000003", "state.newest"]
    assert "the older generation goes" in caplog.text


def test_where_no_room_can_be_made_the_newest_stays_and_the_fault_says_that_the_disk_is_full(small_disk: Path) -> None:
    states = saved(small_disk, count=2, numbers=1000)
    (small_disk / "other").write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * 4096 - 4096))
    with pytest.raises(OSError) as caught:
        states.save({"a": torch.full((100_000,), 3.0)}, {"number": 3})
    assert caught.value.errno == errno.ENOSPC
    assert states.newest().metadata == {"number": 2} and states.newest().damaged == []
    assert not list(small_disk.glob(".*"))
