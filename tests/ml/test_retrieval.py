"""Retrieval: content and loudness go to the nearest of a voice's own frames, as far as they are told to."""

from __future__ import annotations

import pytest
import torch

from ml.retrieval import LOUDNESS_SHARE, QUIET_DB, SPOKEN_DB, Pool, retrieve, speaker_mean


def test_retrieval_moves_content_to_the_pool_by_its_ratio() -> None:
    torch.manual_seed(0)
    normal = torch.nn.functional.layer_norm
    pool = normal(torch.randn(500, 64), (64,))
    z = normal(torch.cat([pool[50:450]] * 3) + 1.5 * torch.randn(1200, 64), (64,))
    assert torch.equal(retrieve(z, pool, 0.0), z)
    near = [(retrieve(z, pool, ratio) @ pool.T).max(-1).values.mean() for ratio in (0.0, 0.3, 0.6)]
    assert near[0] < near[1] < near[2]
    assert torch.allclose(retrieve(pool, pool, 1.0, neighbours=1), pool, atol=1e-5)
    assert retrieve(z, pool[:2], 0.5).shape == z.shape


def test_a_speakers_mean_does_not_say_what_is_near() -> None:
    torch.manual_seed(0)
    normal = torch.nn.functional.layer_norm
    phones, other = torch.randn(400, 64), 1.5 * torch.randn(64)
    pool, z = normal(phones, (64,)), normal(phones[100:300] + other, (64,))
    means = z.mean(0), pool.mean(0)

    def right(found: torch.Tensor) -> float:
        return float(((found @ pool.T).argmax(-1) == torch.arange(100, 300)).float().mean())

    # By what is left without the means each frame finds its own; so it does not without them.
    assert right(retrieve(z, pool, 1.0, neighbours=1, means=means)) > 0.99
    flat = z.mean(0).expand(200, -1)
    assert right(retrieve(flat + 0.3 * (z - flat), pool, 1.0, neighbours=1, means=(z.mean(0), means[1]))) > 0.99
    assert right(retrieve(flat + 0.3 * (z - flat), pool, 1.0, neighbours=1)) < 0.99
    # The content itself goes to the voice's mean too, by the ratio.
    moved = [float((retrieve(z, pool, ratio, means=means).mean(0) - means[1]).norm()) for ratio in (0.01, 0.5)]
    assert moved[1] < 0.5 * moved[0]
    assert torch.equal(retrieve(z, pool, 0.0, means=means), z)


def test_what_is_one_sound_says_nothing_of_its_speaker() -> None:
    torch.manual_seed(0)
    normal = torch.nn.functional.layer_norm
    own, spoken = normal(torch.randn(400, 64) + 0.5, (64,)).mean(0), normal(torch.randn(400, 64) - 1.0, (64,))
    held = spoken[:1].expand(400, -1)
    away = [float((speaker_mean(z.mean(0), len(z), own) - own).norm()) for z in (spoken, held, spoken[:5])]
    assert away[0] > 0.8 * float((spoken.mean(0) - own).norm())
    assert away[1] < 1e-3
    assert away[2] < 0.4 * float((spoken[:5].mean(0) - own).norm())
    assert torch.equal(speaker_mean(torch.zeros(64), 0, own), own)


def test_what_is_near_is_said_by_the_frames_around_too() -> None:
    torch.manual_seed(0)
    normal = torch.nn.functional.layer_norm
    before, after, frame, other = normal(torch.randn(4, 64), (64,))
    nearly = normal(frame + 0.1 * torch.randn(64), (64,))
    # The same frame among strangers, and nearly the same one among its own neighbours.
    pool = torch.stack([other, other, frame, other, other, before, before, nearly, after, after])
    z = torch.stack([before, before, frame, after, after])
    assert torch.allclose(retrieve(z, pool, 1.0, neighbours=1)[2], nearly, atol=1e-5)
    pieces = torch.cat([retrieve(torch.randn(3, 64), pool, 1.0), retrieve(torch.randn(1300, 64), pool, 1.0)])
    assert torch.isfinite(pieces).all()


def rows(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.layer_norm(torch.randn(count, 64, generator=generator), (64,))


@pytest.mark.parametrize("ratio", [0.0, 0.4, 1.0])
def test_loudness_goes_to_that_of_the_same_neighbours_and_pauses_stay(ratio: float) -> None:
    frames = rows(60, 1)
    pool = Pool(frames, torch.linspace(-20.0, 5.0, 60))
    level = torch.full((60,), -10.0)
    level[:10], level[10:20] = QUIET_DB - 1, (QUIET_DB + SPOKEN_DB) / 2
    z, lent = pool.lend(frames, level, ratio, 1, pool.mean)
    share = ratio * LOUDNESS_SHARE
    assert torch.allclose(z, frames, atol=1e-5), "each frame is its own nearest"
    assert torch.equal(lent[:10], level[:10])
    assert torch.allclose(lent[20:], (level + share * (pool.levels - level))[20:], atol=1e-4)
    halfway = (level + 0.5 * share * (pool.levels - level))[10:20]
    assert torch.allclose(lent[10:20], halfway, atol=1e-4)


def test_frames_that_are_protected_keep_their_loudness_too() -> None:
    pool, ratio = Pool(rows(200, 2), torch.zeros(200)), torch.where(torch.arange(40) % 3 > 0, 0.8, 0.0)
    z, level = rows(40, 3), torch.full((40,), -12.0)
    made, lent = pool.lend(z, level, ratio, 4, pool.mean)
    kept = ratio == 0
    assert torch.allclose(made[kept], z[kept], atol=1e-5) and torch.equal(lent[kept], level[kept])
    plain, louder = pool.lend(z, level, 0.8, 4, pool.mean)
    assert torch.allclose(made[~kept], plain[~kept]) and torch.allclose(lent[~kept], louder[~kept])
    assert (lent[~kept] > -8.0).all()
