"""How good each voter is: against known answers, or against what all of them say together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from jupyter_ext.labeling.analysis import wilson_interval
from jupyter_ext.labeling.models.base import LabelModel
from jupyter_ext.labeling.models.majority import agreement_with_others
from jupyter_ext.labeling.models.selection import fit_label_model
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, VoteMatrix, as_gold, as_votes


def annotator_quality(
    votes: VoteMatrix | npt.ArrayLike,
    gold: npt.ArrayLike | None = None,
    model: LabelModel | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return one line a voter: how much they voted, and how right they were.

    With ``gold``, a vote is right when it is the known answer. Without, each vote is as right as the label model finds
    its class probable, so the accuracy is an estimate. The model has seen the vote that it judges, which flatters
    voters where few others voted: ``agreement``, with other voters only, doesn't.

    Parameters
    ----------
    votes
        (n rows, m voters), -1 where there is no vote.
    gold
        Known answers, shape (n,), -1 where unknown.
    model
        A label model fitted on these voters; ``fit_label_model(votes)`` without.
    confidence
        Of the interval.

    Returns
    -------
    DataFrame
        Indexed by voter: ``n_votes``, ``coverage`` (share of the rows), ``n_judged`` (votes that count for the
        accuracy), ``accuracy`` with ``accuracy_low`` and ``accuracy_high`` (Wilson), ``agreement`` (how often another
        voter on the same row says the same, shrunk to 1/2 by one vote each way), and ``confusion``: an array (k, k),
        the share of each vote (column) among the voter's votes on rows of a class (row); NaN where there is none.

    Raises
    ------
    Invalid
        Gold of the wrong length, or a model of other voters.

    Examples
    --------
    >>> table = annotator_quality([[0, 0, 1], [1, 1, 1], [0, 0, 1], [1, 1, 0]], gold=[0, 1, 0, 1])
    >>> table[["n_votes", "accuracy"]].to_numpy().tolist()
    [[4.0, 1.0], [4.0, 1.0], [4.0, 0.25]]
    """
    matrix = as_votes(votes)
    n_rows, k = matrix.shape[0], matrix.n_classes
    truth = _truth(matrix, gold, model)
    judged = np.asarray(truth.sum(axis=1)).ravel() > 0.5
    lines = []
    for j, voter in enumerate(matrix.voters):
        items, classes = matrix.column(j)
        said = sparse.csr_array(
            (np.ones(len(items)), (np.asarray(items), np.asarray(classes, dtype=np.int64))), shape=(n_rows, k)
        )
        table = np.asarray((truth.T @ said).toarray())
        n_judged = int(judged[items].sum())
        right = float(np.trace(table))
        low, high = wilson_interval([right], [n_judged], confidence)
        seen = table.sum(axis=1, keepdims=True)
        lines.append(
            {
                "voter": voter,
                "n_votes": len(items),
                "coverage": len(items) / max(n_rows, 1),
                "n_judged": n_judged,
                "accuracy": right / n_judged if n_judged else np.nan,
                "accuracy_low": float(low[0]),
                "accuracy_high": float(high[0]),
                "confusion": np.divide(table, seen, out=np.full((k, k), np.nan), where=seen > 0),
            }
        )
    quality = pd.DataFrame(lines).set_index("voter")
    quality.insert(6, "agreement", agreement_with_others(matrix.patterns(), matrix.shape[1]))
    return quality


def _truth(votes: VoteMatrix, gold: npt.ArrayLike | None, model: LabelModel | None) -> sparse.csr_array:
    """Return the probability of each class of each row, (n, k); nothing in rows that can't be judged."""
    shape = (votes.shape[0], votes.n_classes)
    if gold is not None:
        known = as_gold(gold, votes)
        rows = np.flatnonzero(known != ABSTAIN)
        return sparse.csr_array((np.ones(len(rows)), (rows, known[rows])), shape=shape)
    fitted = model or fit_label_model(votes)
    proba: FloatArray = fitted.predict_proba(votes) * votes.covered[:, None]
    return sparse.csr_array(proba)
