"""What the fits of several label models share."""

from __future__ import annotations

import numpy as np

from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray


def normalised(log_joint: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ``softmax`` and ``logsumexp`` of each row, by class: few classes make short, slow rows."""
    by_class = np.ascontiguousarray(log_joint.T)
    top = by_class.max(axis=0)
    by_class -= top
    np.exp(by_class, out=by_class)
    total = by_class.sum(axis=0)
    by_class /= total
    return np.ascontiguousarray(by_class.T), top + np.log(total)


def gold_of_patterns(gold: IntArray | None, inverse: IntArray, n_patterns: int) -> IntArray:
    """Return the known answer of each pattern, (n_patterns,), -1 where unknown; patterns tell apart known answers."""
    known = np.full(n_patterns, ABSTAIN, dtype=np.int64)
    if gold is not None:
        known[inverse] = gold
    return known


def clamp(q: FloatArray, known: IntArray) -> None:
    """Make the probabilities (rows, k) of rows whose answer is known certain, in place."""
    rows = np.flatnonzero(known != ABSTAIN)
    q[rows] = 0.0
    q[rows, known[rows]] = 1.0


def collapse_notes(weight: FloatArray, q: FloatArray, majority: FloatArray) -> tuple[str, ...]:
    """Say which classes a fit gave up: they have a good share of the votes and hardly a row's probability.

    ``q`` (rows, k) are the probabilities of rows that count ``weight`` (rows,), ``majority`` (k,) the shares of votes.
    """
    k = len(majority)
    mine = weight @ q / max(float(weight.sum()), 1.0)
    lost = np.flatnonzero((mine < 1 / (5 * k)) & (majority >= 1 / (2 * k)))
    return tuple(
        f"COLLAPSED: class {c} has a share of {mine[c]:.1%}, though {majority[c]:.1%} of the votes are for it. "
        "Don't trust this fit."
        for c in lost
    )
