"""What every label model is: probabilities from votes, an explanation of each, and a report of its own fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, VoteMatrix

_CHUNK_CELLS = 4_000_000  # 32 MB of probabilities


@dataclass(frozen=True)
class FitReport:
    """How a fit went, in numbers and in sentences. ``str()`` of it is what a person reads.

    ``n_patterns`` counts the distinct rows that the fit read: all, or those of a sample where the method takes one.
    ``class_balance`` (k,) is the mean probability of each class over covered rows; ``notes`` hold warnings and remarks.
    """

    method: str
    reason: str
    n_rows: int
    n_covered: int
    n_patterns: int
    class_balance: tuple[float, ...]
    n_iterations: int | None = None
    converged: bool | None = None
    log_likelihood: float | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        share = self.n_covered / self.n_rows if self.n_rows else 0.0
        lines = [
            f"{self.method}: {self.reason}",
            f"{self.n_covered} of {self.n_rows} rows have a vote ({share:.0%}); {self.n_patterns} distinct ones read.",
        ]
        if len(self.class_balance) <= 10:
            lines.append(f"Class balance: {', '.join(f'{share:.3f}' for share in self.class_balance)}.")
        if self.n_iterations is not None:
            ended = "converged" if self.converged else "stopped before it converged"
            lines.append(f"The fit {ended} after {self.n_iterations} iterations.")
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])


class LabelModel(ABC):
    """Base of label models. A fitted one turns votes of the voters it knows into labels.

    Attributes
    ----------
    method : str
        Its name, as `fit_label_model` takes it.
    class_prior_ : array (k,)
        The share of each class before any vote; what a row without votes gets.
    report : FitReport
    params : dict
        What it was fitted with, for the record.
    given_up : tuple of str
        What the fit gave up, a sentence a class; empty unless it collapsed. The report's notes begin with them.
    """

    method: ClassVar[str]
    class_prior_: FloatArray
    report: FitReport
    params: dict[str, Any]
    given_up: tuple[str, ...] = ()

    def __init__(self, votes: VoteMatrix) -> None:
        self.voters = votes.voters
        self.n_classes = votes.n_classes

    def predict_proba(self, votes: VoteMatrix | npt.ArrayLike) -> FloatArray:
        """Return the probability of each class for each row, shape (n, k). A row without votes gets the prior."""
        patterns = self._known(votes).patterns()
        proba = np.concatenate([proba for _, proba in self._by_chunk(patterns.matrix)])
        return proba[patterns.inverse]

    def predict(self, votes: VoteMatrix | npt.ArrayLike) -> IntArray:
        """Return the likeliest class of each row, shape (n,); -1 where nothing voted.

        A tie goes to the class that :meth:`preference` puts first.
        """
        patterns = self._known(votes).patterns()
        best = []
        for rows, proba in self._by_chunk(patterns.matrix):
            tied = proba >= proba.max(axis=1, keepdims=True) - 1e-12
            first = np.argmax(np.where(tied, self.preference(rows), -np.inf), axis=1)
            best.append(np.where(np.diff(rows.indptr) > 0, first, ABSTAIN))
        return np.concatenate(best)[patterns.inverse]

    def explain(self, votes: VoteMatrix | npt.ArrayLike, i: int) -> pd.DataFrame:
        """Say which voter moved row ``i``, and how much: one line a voter that counts, the strongest first.

        Column ``vote`` is the class number (-1: abstained). Column ``weight`` is what it adds for the likeliest class
        against the next: positive for it, negative against. The line ``(prior)`` is the class balance.
        """
        matrix = self._known(votes)
        if not 0 <= i < matrix.shape[0]:
            raise Invalid(f"There is no row {i}; rows are from 0 to {matrix.shape[0] - 1}.")
        row = sparse.csr_array(matrix.rows[[i]])
        proba = self._pattern_proba(row)[0] if row.nnz else self.class_prior_
        second, first = np.argsort(proba, kind="stable")[-2:]
        lines = self._weights(row, int(first), int(second)) if row.nnz else []
        table = pd.DataFrame(lines, columns=["voter", "vote", "weight"])
        table.attrs.update(label=int(first), against=int(second), probability=float(proba[first]))
        return table.iloc[np.argsort(-table["weight"].abs().to_numpy(), kind="stable")].reset_index(drop=True)

    def preference(self, rows: sparse.csr_array) -> FloatArray:
        """Return what breaks ties, shape (rows, k): the class with the larger value wins, then the smaller number."""
        return np.broadcast_to(self.class_prior_, (rows.shape[0], self.n_classes))

    @property
    def collapsed(self) -> bool:
        """Whether the fit gave up a class that people and functions do vote for."""
        return bool(self.given_up)

    @abstractmethod
    def _pattern_proba(self, rows: sparse.csr_array) -> FloatArray:
        """Return the class probabilities of rows that have votes (stored as class + 1)."""

    @abstractmethod
    def _weights(self, row: sparse.csr_array, first: int, second: int) -> list[tuple[str, int, float]]:
        """Return (voter, vote, weight for ``first`` against ``second``) for one row."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.voters)} voters, {self.n_classes} classes)"

    def _by_chunk(self, rows: sparse.csr_array) -> Iterator[tuple[sparse.csr_array, FloatArray]]:
        """Give the rows in chunks with their probabilities, so that many classes don't need a large table."""
        size = max(1, _CHUNK_CELLS // self.n_classes)
        for start in range(0, max(rows.shape[0], 1), size):
            chunk = sparse.csr_array(rows[start : start + size])
            covered = np.flatnonzero(np.diff(chunk.indptr))
            proba = np.tile(self.class_prior_, (chunk.shape[0], 1))
            if len(covered):
                proba[covered] = self._pattern_proba(sparse.csr_array(chunk[covered]))
            yield chunk, proba

    def _known(self, votes: VoteMatrix | npt.ArrayLike) -> VoteMatrix:
        if not isinstance(votes, VoteMatrix):
            votes = VoteMatrix.from_dense(votes, n_classes=self.n_classes)
            if votes.shape[1] == len(self.voters):
                return votes
        if votes.voters != self.voters:
            raise Invalid(
                f"The model was fitted on {len(self.voters)} voters ({_some(self.voters)}) "
                f"and can't read the votes of {len(votes.voters)} others ({_some(votes.voters)})."
            )
        if votes.n_classes > self.n_classes:
            raise Invalid(f"The model knows {self.n_classes} classes; these votes have {votes.n_classes}.")
        return votes


def _some(voters: tuple[str, ...]) -> str:
    return ", ".join(voters[:3]) + (", …" if len(voters) > 3 else "")
