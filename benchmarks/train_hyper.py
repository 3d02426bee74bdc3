"""Train the weights of the hyper label model on synthetic votes: ``python benchmarks/train_hyper.py weights.npz``.

Needs PyTorch (``benchmarks/labeling_peers.txt`` brings it); using the weights doesn't. Five networks, each from a seed
of its own, take half an hour on one core. Of each, the weights kept are those with the smallest loss on held-out
synthetic sets; no real data is looked at.

Half of the synthetic sets have voters as functions are: that know one class or several, of low and of high coverage,
better than chance by little or by much, some of them near copies of others. The other half has no structure at all but
that half of the voters or more are better than chance in each class, as in the paper; it keeps the networks from
believing too firmly in the structure of the first half.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

WIDTH, LAYERS = 16, 4
_CELLS = 100_000
_SUBTYPES = 8


def synthetic(rng: np.random.Generator, n: int, m: int, k: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return votes (size, n, m), -1 where a voter abstains, and classes (size, n)."""
    votes, classes = [], []
    for _ in range(size):
        balance = rng.dirichlet(np.full(k, rng.choice([2.0, 10.0, 50.0])))
        balance = 0.7 * balance + 0.3 / k
        y = rng.choice(k, n, p=balance)
        # Rows of a class come in subtypes, on which voters fire more or less, and err together.
        subtype = y * _SUBTYPES + rng.integers(_SUBTYPES, size=n)
        even = rng.choice([0.5, 2.0, 20.0])
        one_class = rng.uniform() if rng.uniform() < 0.5 else float(rng.uniform() < 0.6)
        busy = rng.choice([0.05, 0.2, 0.6])
        columns: list[np.ndarray] = []
        for _ in range(m):
            if columns and rng.uniform() < 0.04:
                column = columns[rng.integers(len(columns))].copy()
                noisy = rng.uniform(size=n) < rng.uniform(0.02, 0.3)
                column[noisy] = rng.permutation(column)[noisy]
            elif rng.uniform() < one_class:
                column = _keyword(rng, subtype, k, busy, even)
            else:
                column = _several(rng, y, subtype, k, busy, even)
            columns.append(column)
        votes.append(np.stack(columns, axis=1))
        classes.append(y)
    return np.stack(votes), np.stack(classes)


def _keyword(rng: np.random.Generator, subtype: np.ndarray, k: int, busy: float, even: float) -> np.ndarray:
    """A voter that knows one class and sometimes mistakes another for it; the more often it fires, the more so."""
    known = rng.integers(k)
    fires = min(0.9, rng.gamma(1.5, busy / 1.5) + 0.004)
    lift = max(1.3, math.exp(rng.normal(1.8, 0.7)) * (0.1 / fires) ** 0.4)
    rate = np.where(np.arange(k * _SUBTYPES) // _SUBTYPES == known, fires, fires / lift)
    rate = np.minimum(rate * rng.gamma(even, 1 / even, k * _SUBTYPES), 0.95)
    return np.where(rng.uniform(size=len(subtype)) < rate[subtype], known, -1)


def _several(
    rng: np.random.Generator, y: np.ndarray, subtype: np.ndarray, k: int, busy: float, even: float
) -> np.ndarray:
    """A voter with a confusion matrix: right more often than chance would have it, in most classes."""
    level = 1 / k + (1 - 1 / k) * rng.beta(3, 2)
    confusion = np.empty((k, k))
    for c in range(k):
        right = np.clip(level + rng.normal(0, 0.08), 0.05, 0.98)
        wrong = rng.dirichlet(np.full(k, 1.0))
        wrong[c] = 0
        confusion[c] = (1 - right) * wrong / max(wrong.sum(), 1e-9)
        confusion[c, c] = right
    said = (confusion[y].cumsum(axis=1) < rng.uniform(size=(len(y), 1))).sum(axis=1).clip(0, k - 1)
    coverage = min(1.0, rng.gamma(1.5, busy / 1.5) + 0.01) * rng.gamma(even, 1 / even, k * _SUBTYPES)
    if rng.uniform() < 0.4:
        coverage[:] = coverage.mean()
    return np.where(rng.uniform(size=len(y)) < coverage[subtype], said, -1)


def unstructured(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """Return a batch of sets of two classes: any votes, of which in each class half or more of the voters are right.

    References
    ----------
    R. Wu, S.-E. Chen, J. Zhang, X. Chu. Learning hyper label model for programmatic weak supervision. ICLR 2023,
    section 4.3.
    """
    n, m = int(np.exp(rng.uniform(math.log(100), math.log(2000)))), int(rng.integers(2, 61))
    size = max(1, min(40, _CELLS // (n * m * 2)))
    votes = rng.choice(3, size=(size, n, m), p=[1 / 3, 1 / 3, 1 / 3])
    votes = np.where(votes == 2, -1, votes)
    classes = rng.integers(2, size=(size, n))
    for one, y in zip(votes, classes, strict=True):
        for c in (0, 1):
            mine = one[y == c]
            right, wrong = (mine == c).sum(axis=0), (mine == 1 - c).sum(axis=0)
            if (right > wrong).sum() < (right < wrong).sum():
                one[y == c] = np.where(mine < 0, -1, 1 - mine)
    return votes, classes, 2


class Net(nn.Module):
    """Logits of one class against the rest; the same weights whatever the rows, voters and classes."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.ParameterList()
        self.bias = nn.ParameterList()
        fan = 2
        for _ in range(LAYERS):
            # On the cell itself, and on the means of its row, of its voter, of everything.
            self.cell.append(nn.Parameter(torch.randn(4, fan, WIDTH) / math.sqrt(4 * fan)))
            self.bias.append(nn.Parameter(torch.zeros(WIDTH)))
            fan = WIDTH
        self.hidden = nn.Linear(WIDTH + 1, WIDTH)
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, sign: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Take signs and a mask (sets, rows, voters); return logits (sets, rows)."""
        per_row = mask.sum(2).clamp(min=1.0)
        per_voter = mask.sum(1).clamp(min=1.0)
        everything = mask.sum((1, 2)).clamp(min=1.0)
        coverage = torch.log10(per_voter / mask.shape[1])
        h = torch.stack([sign, coverage[:, None, :].expand_as(sign)], dim=-1) * mask[..., None]
        for weight, bias in zip(self.cell, self.bias, strict=True):
            row = (h.sum(2) / per_row[..., None]) @ weight[1]
            voter = (h.sum(1) / per_voter[..., None]) @ weight[2]
            whole = (h.sum((1, 2)) / everything[:, None]) @ weight[3] + bias
            h = h @ weight[0] + row[:, :, None] + voter[:, None] + whole[:, None, None]
            h = functional.leaky_relu(h, 0.1) * mask[..., None]
        pooled = torch.cat([h.sum(2) / per_row[..., None], torch.log(per_row)[..., None]], dim=-1)
        logits: torch.Tensor = self.out(functional.leaky_relu(self.hidden(pooled), 0.1))[..., 0]
        return logits


def loss_of(net: Net, votes: np.ndarray, classes: np.ndarray, k: int) -> tuple[torch.Tensor, float, float]:
    """Return the loss over covered rows, the accuracy, and the majority's."""
    x, y = torch.from_numpy(votes), torch.from_numpy(classes)
    mask = (x >= 0).float()
    logits = torch.stack([net(torch.where(x == c, 1.0, -1.0) * mask, mask) for c in range(k)], dim=-1)
    covered = mask.sum(2) > 0
    counts = torch.stack([(x == c).sum(2) for c in range(k)], dim=-1)[covered].float()
    best = counts == counts.max(1, keepdim=True).values
    majority = (best.float() / best.sum(1, keepdim=True)).gather(1, y[covered][:, None]).mean()
    right = (logits[covered].argmax(1) == y[covered]).float().mean()
    return functional.cross_entropy(logits[covered], y[covered]), float(right), float(majority)


def drawn(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """Return a batch of sets of one shape: votes, classes, number of classes."""
    if rng.uniform() < 0.5:
        return unstructured(rng)
    k = int(rng.choice([2, 3, 4, 5, 6, 8], p=[0.55, 0.1, 0.1, 0.1, 0.1, 0.05]))
    n, m = int(np.exp(rng.uniform(math.log(60), math.log(500)))), int(np.exp(rng.uniform(math.log(3), math.log(50))))
    votes, classes = synthetic(rng, n, m, k, max(1, min(40, _CELLS // (n * m * k))))
    return votes, classes, k


def trained(seed: int, steps: int) -> dict[str, np.ndarray]:
    """Train one network and return its best weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    held = [drawn(np.random.default_rng([seed, 2, number])) for number in range(60)]
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps, pct_start=0.1)
    best, began = math.inf, time.monotonic()
    weights: dict[str, np.ndarray] = {}
    for step in range(1, steps + 1):
        loss, _, _ = loss_of(net, *drawn(rng))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == steps:
            with torch.no_grad():
                losses, ours, majority = (
                    np.mean(part) for part in zip(*(loss_of(net, *one) for one in held), strict=True)
                )
            print(
                f"seed {seed}, step {step}: loss {losses:.4f}, accuracy {ours:.4f}, majority {majority:.4f}, "
                f"{time.monotonic() - began:.0f} s",
                flush=True,
            )
            if losses < best:
                best = losses
                weights = {name.replace(".", "_"): value.numpy().copy() for name, value in net.state_dict().items()}
    return weights


def main() -> None:
    """Train a network for each seed, and write their weights to one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    networks = [trained(seed, arguments.steps) for seed in arguments.seeds]
    arrays: dict[str, Any] = {
        f"{number}.{name}": array for number, network in enumerate(networks) for name, array in network.items()
    }
    np.savez_compressed(arguments.target, **arrays)


if __name__ == "__main__":
    main()
