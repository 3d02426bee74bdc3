"""The vote matrix: who said what about which row, sparse, whoever the voter is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from jupyter_ext.errors import Invalid

#: What a voter returns for a row it has no opinion on.
ABSTAIN = -1

#: A function or a model that abstains tells something: its pattern did not match, or it was not sure. A person was
#: perhaps never asked.
VoterKind = Literal["function", "model", "person"]

IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.float64]

_MOST_CLASSES = int(np.iinfo(np.int16).max)


@dataclass(frozen=True)
class Patterns:
    """The distinct rows of a matrix: ``matrix`` (u, m), how often each occurs (u,), and which one each row is (n,)."""

    matrix: sparse.csr_array
    counts: npt.NDArray[np.int64]
    inverse: npt.NDArray[np.int64]


class VoteMatrix:
    """Votes of ``m`` voters (functions, models, people) over ``n`` rows, each a class number or nothing.

    Only votes take room (CSC, two bytes a vote and four for its row), so 1,000,000 x 100 at 5 % density is 30 MB.
    Build one with :meth:`from_dense`, :meth:`from_triples` or :meth:`concat`.

    Examples
    --------
    >>> votes = VoteMatrix.from_dense([[0, -1], [1, 1], [-1, -1]], voters=["short", "ana"])
    >>> votes
    VoteMatrix(3 rows x 2 voters, 2 classes, 3 votes)
    >>> votes.to_dense().tolist()
    [[0, -1], [1, 1], [-1, -1]]
    """

    def __init__(
        self, stored: sparse.csc_array, voters: tuple[str, ...], n_classes: int, kinds: tuple[VoterKind, ...]
    ) -> None:
        # An entry holds class + 1, so that "nothing stored" and "abstains" are the same thing.
        self._stored = stored
        self._rows: sparse.csr_array | None = None
        self._patterns: Patterns | None = None
        self.voters = voters
        self.n_classes = n_classes
        self.kinds = kinds

    @classmethod
    def from_dense(
        cls,
        L: npt.ArrayLike,
        voters: Sequence[str] | None = None,
        n_classes: int | None = None,
        *,
        kind: VoterKind = "function",
    ) -> VoteMatrix:
        """Build from an integer array of shape (n rows, m voters), :data:`ABSTAIN` (-1) where a voter said nothing.

        Parameters
        ----------
        L
            The votes, class numbers from 0.
        voters
            Names of the columns; ``voter_0``… without.
        n_classes
            How many classes there are; one more than the largest vote without.
        kind
            What the voters are; it decides how ``missing="auto"`` reads their silence.

        Raises
        ------
        Invalid
            Not two-dimensional, not whole numbers, or a vote outside the classes.
        """
        dense = as_integers(L, "votes")
        if dense.ndim != 2:
            raise Invalid(f"Votes must have two dimensions (rows, voters), not {dense.ndim}.", shape=list(dense.shape))
        by_voter = np.ascontiguousarray(dense.T)
        # A voter after the other, and in small numbers: much faster than one np.nonzero.
        given = [np.flatnonzero(column != ABSTAIN).astype(np.int32) for column in by_voter]
        columns = np.repeat(np.arange(len(given), dtype=np.int32), [len(some) for some in given])
        rows = np.concatenate([np.zeros(0, np.int32), *given])
        classes = np.concatenate([np.zeros(0, dense.dtype), *map(np.take, by_voter, given)])
        names = tuple(f"voter_{j}" for j in range(dense.shape[1])) if voters is None else tuple(map(str, voters))
        return cls.from_columns(rows, columns, classes, dense.shape[0], names, n_classes, kind=kind)

    @classmethod
    def from_triples(
        cls,
        items: npt.ArrayLike,
        voters: npt.ArrayLike,
        values: npt.ArrayLike,
        n_classes: int | None = None,
        *,
        n_items: int | None = None,
        kind: VoterKind = "person",
    ) -> VoteMatrix:
        """Build from a long table: row number, voter, class number.

        A later vote of a voter on a row replaces an earlier one.

        Parameters
        ----------
        items
            Row numbers from 0, shape (v,).
        voters
            Names or numbers of voters, shape (v,); the columns come sorted.
        values
            Class numbers, shape (v,); :data:`ABSTAIN` withdraws.
        n_items
            How many rows there are; one more than the largest row number without.

        Examples
        --------
        >>> VoteMatrix.from_triples([0, 0, 2], ["ana", "bo", "bo"], [1, 0, 1]).to_dense().tolist()
        [[1, 0], [-1, -1], [-1, 1]]
        """
        rows, classes = as_integers(items, "items"), as_integers(values, "values")
        people = np.asarray(voters)
        if not (rows.ndim == classes.ndim == people.ndim == 1 and len(rows) == len(classes) == len(people)):
            raise Invalid(
                f"Items, voters and values must be lists of one length; they are {rows.shape}, {people.shape} "
                f"and {classes.shape}."
            )
        height = int(rows.max()) + 1 if n_items is None and len(rows) else int(n_items or 0)
        if len(rows) and (rows.min() < 0 or rows.max() >= height):
            raise Invalid(f"Row numbers must be from 0 to {height - 1}; found {rows.min()} to {rows.max()}.")
        names, columns = np.unique(people, return_inverse=True)
        last = _last_of_each(rows.astype(np.int64) * max(len(names), 1) + columns)
        rows, columns, classes = rows[last], columns[last], classes[last]
        said = classes != ABSTAIN
        voter_names = tuple(str(name) for name in names)
        return cls.from_columns(rows[said], columns[said], classes[said], height, voter_names, n_classes, kind=kind)

    @classmethod
    def concat(cls, matrices: Iterable[VoteMatrix]) -> VoteMatrix:
        """Put the voters of several matrices over the same rows side by side: functions and people in one.

        Examples
        --------
        >>> rules = VoteMatrix.from_dense([[0], [1]], voters=["short"])
        >>> people = VoteMatrix.from_triples([1], ["ana"], [1], n_items=2)
        >>> VoteMatrix.concat([rules, people]).voters
        ('short', 'ana')
        """
        parts = list(matrices)
        if not parts:
            raise Invalid("There is no vote matrix to join.")
        heights = {part.shape[0] for part in parts}
        if len(heights) > 1:
            raise Invalid(f"Vote matrices over different numbers of rows can't be joined: {sorted(heights)}.")
        voters = tuple(name for part in parts for name in part.voters)
        _require_distinct(voters)
        stored = sparse.csc_array(sparse.hstack([part._stored for part in parts], format="csc", dtype=np.int16))
        kinds = tuple(kind for part in parts for kind in part.kinds)
        return cls(stored, voters, max(part.n_classes for part in parts), kinds)

    @classmethod
    def from_columns(
        cls,
        rows: IntArray,
        columns: IntArray,
        classes: IntArray,
        n_rows: int,
        voters: Sequence[str],
        n_classes: int | None = None,
        *,
        kind: VoterKind | Sequence[VoterKind],
    ) -> VoteMatrix:
        """Build from votes by row number, column number and class number, each pair of row and column at most once.

        ``kind`` is that of all voters, or one for each.
        """
        voters = tuple(voters)
        largest = int(classes.max()) if len(classes) else -1
        count = max(largest + 1, 2) if n_classes is None else int(n_classes)
        if not 2 <= count <= _MOST_CLASSES:
            raise Invalid(f"The number of classes must be from 2 to {_MOST_CLASSES}, not {count}.")
        wrong = (classes < 0) | (classes >= count)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise Invalid(
                f"The vote {int(classes[first])} in row {int(rows[first])}, column {int(columns[first])} is no class: "
                f"votes are from 0 to {count - 1}, or -1 to abstain.",
                n_wrong=int(wrong.sum()),
            )
        width = int(columns.max()) + 1 if len(columns) else 0
        if width > len(voters):
            raise Invalid(f"There are {width} columns of votes and {len(voters)} names of voters.")
        _require_distinct(voters)
        data = (classes + 1).astype(np.int16)
        shape = (n_rows, len(voters))
        if len(columns) < 2 or (columns[:-1] <= columns[1:]).all():  # a column after the other: nothing to sort
            pointers = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=len(voters)))])
            stored = sparse.csc_array((data, rows.astype(np.int32, copy=False), pointers), shape=shape)
            stored.sort_indices()
        else:
            stored = sparse.csc_array((data, (rows, columns)), shape=shape, dtype=np.int16)
        kinds = (kind,) * len(voters) if isinstance(kind, str) else tuple(kind)
        return cls(stored, voters, count, kinds)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and voters."""
        return (int(self._stored.shape[0]), int(self._stored.shape[1]))

    @property
    def n_votes(self) -> int:
        """How many votes were given."""
        return int(self._stored.nnz)

    @property
    def rows(self) -> sparse.csr_array:
        """The votes by row (CSR, int16), each stored as class + 1. Shared: don't write to it."""
        if self._rows is None:
            self._rows = sparse.csr_array(self._stored)
        return self._rows

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """Whether a row has any vote, shape (n,)."""
        covered: npt.NDArray[np.bool_] = np.diff(self.rows.indptr) > 0
        return covered

    def take(self, rows: IntArray) -> VoteMatrix:
        """Return the matrix of some rows, given by their numbers, with the same voters and classes."""
        return VoteMatrix(sparse.csc_array(self.rows[rows]), self.voters, self.n_classes, self.kinds)

    def column(self, voter: int | str) -> tuple[IntArray, IntArray]:
        """Return the row numbers and class numbers of one voter's votes."""
        j = self.voters.index(voter) if isinstance(voter, str) else voter
        part = slice(self._stored.indptr[j], self._stored.indptr[j + 1])
        return self._stored.indices[part], self._stored.data[part] - 1

    def to_dense(self) -> npt.NDArray[np.int16]:
        """Return an array of shape (n, m), -1 where a voter said nothing."""
        dense: npt.NDArray[np.int16] = self._stored.toarray() - np.int16(1)
        return dense

    def class_counts(self) -> sparse.csr_array:
        """Count votes by row and class, shape (n, k), sparse."""
        rows = self.rows
        # A pointer array of its own: summing what stands twice is done in place.
        parts = np.ones(rows.nnz), rows.data.astype(np.int64) - 1, rows.indptr.copy()
        counts = sparse.csr_array(parts, shape=(self.shape[0], self.n_classes))
        counts.sum_duplicates()
        return counts

    def patterns(self, extra: IntArray | None = None) -> Patterns:
        """Find the distinct rows, so that a fit costs what the patterns cost, however many rows there are.

        ``extra`` (n,) tells apart rows with the same votes (known answers, say).
        """
        if extra is not None:
            return distinct_rows(self.rows, extra)
        if self._patterns is None:
            self._patterns = distinct_rows(self.rows)
        return self._patterns

    def __repr__(self) -> str:
        return (
            f"VoteMatrix({self.shape[0]} rows x {self.shape[1]} voters, {self.n_classes} classes, {self.n_votes} votes)"
        )


def distinct_rows(rows: sparse.csr_array, extra: IntArray | None = None) -> Patterns:
    """Group equal rows of a sparse matrix with small whole numbers.

    Rows are compared by a 64-bit sum of mixed cells: among a million distinct rows two collide with probability 3e-8.
    """
    cells = rows.indices.astype(np.uint64) << np.uint64(32) | rows.data.astype(np.uint64)
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mix(cells), dtype=np.uint64)])
    hashes = running[rows.indptr[1:]] - running[rows.indptr[:-1]]
    if extra is not None:
        hashes = hashes + _mix(np.uint64(1 << 63) | (extra + 1).astype(np.uint64))
    _, first, inverse, counts = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    return Patterns(sparse.csr_array(rows[first]), counts.astype(np.int64), inverse.astype(np.int64))


def as_votes(votes: VoteMatrix | npt.ArrayLike, n_classes: int | None = None) -> VoteMatrix:
    """Accept a matrix, or a dense integer array, and check ``n_classes`` against it."""
    matrix = votes if isinstance(votes, VoteMatrix) else VoteMatrix.from_dense(votes, n_classes=n_classes)
    if n_classes is None or n_classes == matrix.n_classes:
        return matrix
    largest = int(matrix.rows.data.max(initial=0))
    if largest > n_classes:
        raise Invalid(f"A vote for class {largest - 1} was found, and n_classes is {n_classes}.")
    return VoteMatrix(matrix._stored, matrix.voters, n_classes, matrix.kinds)


def as_gold(gold: npt.ArrayLike, votes: VoteMatrix) -> IntArray:
    """Check known answers: shape (n,), class numbers, -1 where unknown."""
    known = as_integers(gold, "gold")
    if known.shape != (votes.shape[0],):
        raise Invalid(f"Gold must have one entry a row, shape ({votes.shape[0]},), not {known.shape}.")
    if len(known) and (known.min() < ABSTAIN or known.max() >= votes.n_classes):
        raise Invalid(
            f"Gold must hold classes 0 to {votes.n_classes - 1}, or -1 where unknown; "
            f"found {known.min()} to {known.max()}."
        )
    return known


def as_integers(values: npt.ArrayLike, what: str) -> IntArray:
    """Accept whole numbers, of float type too, without NaN; ``what`` names them in the error."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise Invalid(f"The {what} are not a regular array: {error}.") from None
    if array.dtype.kind in "iu":
        return array
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        if np.isnan(array).any():
            raise Invalid(f"The {what} hold NaN; write -1 where there is none.")
        whole = array.astype(np.int64)
        if (whole == array).all():
            return whole
    raise Invalid(f"The {what} must be whole numbers, not {array.dtype}.")


def _require_distinct(voters: tuple[str, ...]) -> None:
    if len(set(voters)) < len(voters):
        twice = sorted({name for name in voters if voters.count(name) > 1})[:5]
        raise Invalid(f"Two voters have the same name: {', '.join(twice)}.")


def _last_of_each(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    _, from_the_end = np.unique(ids[::-1], return_index=True)
    return np.sort(len(ids) - 1 - from_the_end)


def _mix(values: Any) -> npt.NDArray[np.uint64]:
    """Spread bits: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014, figure 12)."""
    mixed = np.asarray(values, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
