"""A classifier from soft labels: what generalises from rows with votes to all rows, and to new ones."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, OneHotEncoder, StandardScaler

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.probabilities import as_matrix, as_proba
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, VoteMatrix, as_integers, as_votes

Kind = Literal["auto", "text", "table", "embeddings"]

#: Parts of a soft label below this are dropped: with many classes nearly all are zero and would only cost time.
_LEAST_SHARE = 1e-3
#: A soft label so close to the mean of the others, in each class, tells nothing about its row.
_SAME_AS_MEAN = 0.01
#: From how many rows on a term must occur twice.
_ENOUGH_TEXTS = 50
#: A text column of a table has many different values, and long ones; other strings are categories.
_MOST_CATEGORIES, _LONG_TEXT = 50, 20
#: Rows without votes join self-training when the classifier is as sure as this.
_SURE = 0.9
#: A single letter or digit is a word too ("u", "2").
_WORD = r"(?u)\b\w+\b"
#: TF-IDF rows have length one, which needs large weights; standardised columns don't.
_INVERSE_REGULARISATION = {"text": 30.0, "table": 1.0, "embeddings": 1.0}


def train_end_model(
    X: Any,
    soft_labels: npt.ArrayLike,
    kind: Kind = "auto",
    votes: VoteMatrix | npt.ArrayLike | None = None,
    *,
    self_training: int = 0,
    random_state: int = 0,
) -> Pipeline:
    """Train a classifier on uncertain labels.

    Logistic regression under the expected loss ``-Σ_c q_ic log p_c(x_i)``: a row that is 0.7 one class and 0.3 another
    counts as 0.7 of a row of the one and 0.3 of a row of the other. Features are learnt from all rows, the classifier
    from those with votes.

    Parameters
    ----------
    X
        The rows: texts (a list or Series of strings), a table (DataFrame of numbers, categories, dates and texts, with
        gaps), or embeddings (an array or sparse matrix of shape (n, d)).
    soft_labels
        Class probabilities, shape (n, k), as a label model's ``predict_proba`` gives; or class numbers, shape (n,), -1
        where unknown. A row of NaN is unknown.
    kind
        ``"text"``, ``"table"``, ``"embeddings"``, or ``"auto"``, which sees it.
    votes
        The votes behind the labels, shape (n, m): rows without one are left out. Without ``votes`` those rows are left
        out whose soft label tells nothing: the class balance, which a label model gives them, or else a uniform one.
    self_training
        How many rounds to go on: rows left out join with the classifier's own prediction where it is surer than 0.9.
    random_state
        Seed of the solver.

    Returns
    -------
    Pipeline
        A fitted scikit-learn estimator, ``features`` and ``classifier``; ``predict_proba(X)`` (n, k), ``predict(X)``,
        ``classes_`` (0 to k - 1).

    Raises
    ------
    Invalid
        Labels that aren't one a row, add up to something else than 1, are for one class only, or are all unknown; an X
        that is of no kind, or embeddings with NaN.

    References
    ----------
    A. Ratner et al. Data programming: creating large training sets, quickly. NeurIPS 2016 (the noise-aware loss).

    Examples
    --------
    >>> texts = ["win cash now", "see you at home", "cash prize", "home soon"]
    >>> model = train_end_model(texts, [[0.1, 0.9], [0.8, 0.2], [0.2, 0.8], [0.9, 0.1]])
    >>> model.predict(["cash for you", "going home"]).tolist()
    [1, 0]
    """
    kind = _kind_of(X) if kind == "auto" else kind
    if kind not in _FEATURES:
        raise Invalid(f"There is no kind {kind!r} of end model; there are auto, {', '.join(_FEATURES)}.")
    X = _as_rows(X, kind)
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    labels, known = _as_soft(soft_labels, n)
    known &= _told(labels, known) if votes is None else _covered(votes, n)
    if not known.any():
        raise Invalid("No row has both a label and a vote; there is nothing to train on.")
    share = labels[known].mean(axis=0)
    if share.max() > 1 - _LEAST_SHARE / 10:
        raise Invalid(f"All labels are for class {int(share.argmax())}; a classifier needs two classes.")
    if not isinstance(self_training, int) or self_training < 0:
        raise Invalid(f"self_training must be a number of rounds from 0, not {self_training!r}.")

    features = _FEATURES[kind](X)
    try:
        Z = features.fit_transform(X)
    except ValueError as error:
        raise Invalid(f"No features could be made of X as {kind}: {error}") from None
    Z = sparse.csr_array(Z) if sparse.issparse(Z) else np.asarray(Z)
    classifier = _fit(Z, labels, known, _INVERSE_REGULARISATION[kind], random_state)
    for _ in range(self_training):
        own = classifier.predict_proba(Z)
        joining = ~known & (own.max(axis=1) >= _SURE)
        if not joining.any():
            break
        classifier = _fit(
            Z, np.where(known[:, None], labels, own), known | joining, _INVERSE_REGULARISATION[kind], random_state
        )
    return Pipeline([("features", features), ("classifier", classifier)])


def _fit(
    Z: Any, labels: FloatArray, rows: npt.NDArray[np.bool_], inverse_regularisation: float, random_state: int
) -> LogisticRegression:
    """Fit on one weighted copy of a row for each class that it may be."""
    numbers = np.flatnonzero(rows)
    shares = labels[numbers]
    shares = np.where(shares >= _LEAST_SHARE, shares, 0.0)
    # A class that is nowhere likely keeps its column: its largest share stays, however small.
    lost = np.flatnonzero(shares.sum(axis=0) == 0)
    shares[labels[numbers][:, lost].argmax(axis=0), lost] = _LEAST_SHARE
    row, classes = np.nonzero(shares)
    weights = shares[row, classes]
    classifier = LogisticRegression(C=inverse_regularisation, max_iter=2000, random_state=random_state)
    return classifier.fit(Z[numbers[row]], classes, sample_weight=weights)


def _as_soft(soft_labels: npt.ArrayLike, n: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return labels as probabilities (n, k), and which rows have one (n,)."""
    array = np.asarray(soft_labels)
    if array.ndim == 1:
        hard = as_integers(array, "labels")
        if len(hard) != n:
            raise Invalid(f"X has {n} rows and soft_labels {len(hard)}.")
        if len(hard) and hard.min() < ABSTAIN:
            raise Invalid(f"Labels are class numbers from 0, or -1 where unknown; found {hard.min()}.")
        k = max(int(hard.max(initial=0)) + 1, 2)
        return np.eye(k)[np.maximum(hard, 0)], hard != ABSTAIN
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise Invalid("soft_labels must be class probabilities (n, k) or class numbers (n,).")
    if len(array) != n:
        raise Invalid(f"X has {n} rows and soft_labels {len(array)}.")
    unknown: npt.NDArray[np.bool_] = np.asarray(np.isnan(array.astype(np.float64)).all(axis=1))
    filled = np.where(unknown[:, None], 1 / array.shape[1], array)
    return as_proba(filled, "soft_labels"), ~unknown


def _covered(votes: VoteMatrix | npt.ArrayLike, n: int) -> npt.NDArray[np.bool_]:
    matrix = as_votes(votes)
    if matrix.shape[0] != n:
        raise Invalid(f"X has {n} rows and votes {matrix.shape[0]}.")
    return matrix.covered


def _told(labels: FloatArray, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Say which soft labels tell something: not the class balance that rows without votes share, or uniform ones."""
    distinct, counts = np.unique(labels[known], axis=0, return_counts=True)
    others = known.sum() - counts
    mean = (labels[known].sum(axis=0) - counts[:, None] * distinct) / np.maximum(others, 1)[:, None]
    balance = (counts > 1) & (others > 0) & (np.abs(mean - distinct).max(axis=1) < _SAME_AS_MEAN)
    telling: npt.NDArray[np.bool_] = np.ptp(labels, axis=1) > 1e-6
    if balance.any():
        telling = (labels != distinct[np.where(balance, counts, 0).argmax()]).any(axis=1)
    return telling


def _kind_of(X: Any) -> Kind:
    if isinstance(X, pd.DataFrame):
        return "table"
    if sparse.issparse(X):
        return "embeddings"
    array = X if isinstance(X, (pd.Series, np.ndarray)) else np.asarray(X, dtype=object)
    if array.ndim == 1 and len(array) and all(isinstance(value, str) or _is_gap(value) for value in array):
        return "text"
    if array.ndim == 2:
        return "embeddings"
    raise Invalid("X must be texts, a DataFrame, or an array of embeddings with a row each.")


def _as_rows(X: Any, kind: Kind) -> Any:
    if kind == "table":
        if not isinstance(X, pd.DataFrame):
            raise Invalid("A table must be a DataFrame.")
        if not X.columns.is_unique:
            raise Invalid("The frame has two columns of one name; rename one.")
        return X
    if kind == "text":
        if isinstance(X, pd.DataFrame):
            raise Invalid("Texts must be one column; give frame[column].")
        return list(X)
    return X if sparse.issparse(X) else as_matrix(X, "embeddings")


def _text_features(texts: Any) -> Pipeline:
    least = 2 if len(texts) >= _ENOUGH_TEXTS else 1
    # Words say what it is about; pieces of words see through spelling, endings and numbers.
    common = {"sublinear_tf": True, "min_df": least, "strip_accents": "unicode", "dtype": np.float32}
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=_WORD, **common)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=200_000, **common)
    return Pipeline(
        [("clean", FunctionTransformer(fill_texts)), ("tfidf", FeatureUnion([("words", words), ("pieces", pieces)]))]
    )


def _table_features(frame: pd.DataFrame) -> ColumnTransformer:
    numbers, categories, dates, texts = [], [], [], []
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            dates.append(name)
        elif pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            numbers.append(name)
        elif _is_text(column):
            texts.append(name)
        else:
            categories.append(name)
    scaled = [
        ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
        ("scale", StandardScaler()),
    ]
    steps: list[tuple[str, Any, Any]] = [
        ("numbers", Pipeline([("float", FunctionTransformer(as_floats)), *scaled]), numbers),
        ("dates", Pipeline([("days", FunctionTransformer(days_of)), *scaled]), dates),
        (
            "categories",
            Pipeline(
                [
                    ("fill", FunctionTransformer(fill_categories)),
                    ("one_hot", OneHotEncoder(handle_unknown="ignore", max_categories=1000)),
                ]
            ),
            categories,
        ),
        *((f"text {name}", _text_features(frame[name]), name) for name in texts),
    ]
    steps = [step for step in steps if len(step[2])]
    if not steps:
        raise Invalid("The frame has no columns.")
    return ColumnTransformer(steps)


def _embedding_features(X: Any) -> Any:
    # Centring would fill a sparse matrix.
    return MaxAbsScaler() if sparse.issparse(X) else StandardScaler()


_FEATURES = {"text": _text_features, "table": _table_features, "embeddings": _embedding_features}


def fill_texts(texts: Any) -> list[str]:
    """Return a list of strings, empty ones for gaps. Part of trained pipelines, which are loaded by this name."""
    return ["" if _is_gap(text) else str(text) for text in texts]


def fill_categories(frame: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return categories as strings, gaps as one of their own. Part of trained pipelines."""
    return np.where(frame.isna(), "(missing)", frame.astype(object).astype(str)).astype(object)


def as_floats(frame: pd.DataFrame) -> FloatArray:
    """Return numbers as floats, NaN for gaps and infinities. Part of trained pipelines."""
    values = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def days_of(frame: pd.DataFrame) -> FloatArray:
    """Return times as days since 1970, NaN for gaps. Part of trained pipelines."""
    epoch = pd.Timestamp(0, tz="UTC")
    days = [(pd.to_datetime(frame[name], utc=True) - epoch) / pd.Timedelta(days=1) for name in frame.columns]
    return np.stack([day.to_numpy(dtype=np.float64) for day in days], axis=1)


def _is_text(column: pd.Series[Any]) -> bool:
    told = column.dropna()
    if not len(told) or not all(isinstance(value, str) for value in told.head(1000)):
        return False
    sample = told.head(1000).astype(str)
    return bool(sample.nunique() > min(_MOST_CATEGORIES, len(sample) / 2) and sample.str.len().mean() > _LONG_TEXT)


def _is_gap(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))
