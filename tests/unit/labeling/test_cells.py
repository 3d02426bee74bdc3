from __future__ import annotations

import numpy as np

from jupyter_ext.labeling import VoteMatrix
from jupyter_ext.labeling.cells import Cells, joint_counts


def some_votes(n: int = 3000, m: int = 6, k: int = 3, seed: int = 0) -> VoteMatrix:
    random = np.random.default_rng(seed)
    return VoteMatrix.from_dense(np.where(random.random((n, m)) < 0.5, random.integers(0, k, (n, m)), -1), n_classes=k)


def test_cells_are_numbered_alike_whether_few_or_many_could_be():
    rows = some_votes().rows
    few = Cells(rows, 3)
    # So many classes that the cells can't be counted one by one.
    many = Cells(rows, 30_000)
    assert len(few) == len(many) == 18
    np.testing.assert_array_equal(few.voter, many.voter)
    np.testing.assert_array_equal(few.of_class, many.of_class)
    np.testing.assert_array_equal(few.numbers(rows), many.numbers(rows))


def test_a_vote_that_never_occurred_has_no_number():
    cells = Cells(VoteMatrix.from_dense([[0, -1], [0, 1]]).rows, 2)
    rows = VoteMatrix.from_dense([[1, 1], [0, 0]]).rows
    assert cells.numbers(rows).tolist() == [-1, 1, 0, -1]
    assert cells.onehot(rows).toarray().tolist() == [[0, 1], [1, 0]]


def test_without_votes_there_are_no_cells():
    cells = Cells(VoteMatrix.from_dense(np.full((4, 2), -1)).rows, 2)
    assert len(cells) == 0
    assert cells.numbers(VoteMatrix.from_dense([[0, 1]]).rows).tolist() == [-1, -1]


def test_blocks_count_what_sparse_products_count(monkeypatch):
    votes = some_votes()
    L = votes.to_dense()
    cells = votes.rows.indices * 3 + votes.rows.data - 1
    cells[votes.rows.data == 2] = -1
    sparse = joint_counts(votes.rows, cells, 18)
    monkeypatch.setattr("jupyter_ext.labeling.cells._MANY_PRODUCTS", 0)
    monkeypatch.setattr("jupyter_ext.labeling.cells._BLOCK_CELLS", 1000)
    np.testing.assert_array_equal(joint_counts(votes.rows, cells, 18), sparse)
    assert sparse[0, 3] == ((L[:, 0] == 0) & (L[:, 1] == 0)).sum()
    assert sparse[1].sum() == 0
