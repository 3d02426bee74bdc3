"""Spans of text: to and from BIO tags, and how far two sets of them, or several annotators, agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import index
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.quality import Agreement
from jupyter_ext.labeling.votes import FloatArray, IntArray, as_integers

#: Start and end (exclusive) in tokens or characters, and the label.
Span = tuple[int, int, str]
Match = Literal["exact", "overlap"]

#: The class number of a token outside of all spans.
OUTSIDE = 0


@dataclass(frozen=True)
class SpanF1:
    """How far two sets of spans are the same: ``f1 = 2 matched / (n_a + n_b)``, with ``a`` as the reference.

    ``precision`` is the share of ``b``'s spans that ``a`` has, ``recall`` the share of ``a``'s that ``b`` has.
    """

    f1: float
    precision: float
    recall: float
    n_a: int
    n_b: int


def bio_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the BIO classes in the order of their numbers, and check the labels.

    Examples
    --------
    >>> bio_names(["PER", "LOC"])
    ('O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC')
    """
    if isinstance(labels, str) or not len(labels):
        raise Invalid("Labels must be a list of one name or more, such as ['PER', 'LOC'].")
    names = [str(label) for label in labels]
    if len(set(names)) < len(names):
        raise Invalid("The labels must differ from each other.")
    return ("O", *(f"{part}-{name}" for name in names for part in "BI"))


def spans_to_bio(spans: Iterable[Sequence[Any]], n_tokens: int, labels: Sequence[str]) -> IntArray:
    """Turn the spans of one document into BIO class numbers.

    Parameters
    ----------
    spans
        ``(start, end, label)`` in tokens, end exclusive, in any order.
    n_tokens
        How long the document is.
    labels
        The possible labels. Number 0 is O, ``1 + 2 i`` is B-``labels[i]``, ``2 + 2 i`` is I-``labels[i]``.

    Returns
    -------
    array (n_tokens,)

    Raises
    ------
    Invalid
        A span outside the document, of an unknown label, or over another one: a token has one tag.

    Examples
    --------
    >>> spans_to_bio([(1, 3, "PER"), (3, 4, "LOC")], 5, ["PER", "LOC"]).tolist()
    [0, 1, 2, 3, 0]
    """
    bio_names(labels)
    if n_tokens < 0:
        raise Invalid(f"A document has 0 tokens or more, not {n_tokens}.")
    numbers = {str(label): i for i, label in enumerate(labels)}
    tags = np.zeros(n_tokens, dtype=np.int64)
    last = 0
    for start, end, label in sorted(_document(spans)):
        if end > n_tokens:
            raise Invalid(f"A span ends at {end}, and the document has {n_tokens} tokens.")
        if label not in numbers:
            raise Invalid(f"{label!r} is none of the labels: {', '.join(numbers)}.")
        if start < last:
            raise Invalid(f"The span {start} to {end} lies over another; a token has one BIO tag.")
        tags[start] = 1 + 2 * numbers[label]
        tags[start + 1 : end] = 2 + 2 * numbers[label]
        last = end
    return tags


def bio_to_spans(tags: npt.ArrayLike, labels: Sequence[str]) -> list[Span]:
    """Turn the BIO class numbers of one document, shape (n_tokens,), into its spans, in the order of the text.

    An I- that continues nothing of its label starts a span.

    Examples
    --------
    >>> bio_to_spans([0, 1, 2, 3, 0], ["PER", "LOC"])
    [(1, 3, 'PER'), (3, 4, 'LOC')]
    >>> bio_to_spans([2, 2, 4], ["PER", "LOC"])
    [(0, 2, 'PER'), (2, 3, 'LOC')]
    """
    numbers = as_integers(tags, "tags")
    if numbers.ndim != 1:
        raise Invalid(f"The tags of a document must be one list, not {numbers.ndim}-dimensional.")
    return spans_of_documents(numbers, np.array([len(numbers)]), labels)[0]


def spans_of_documents(tags: IntArray, lengths: IntArray, labels: Sequence[str]) -> list[list[Span]]:
    """Return the spans of each document; ``tags`` (n,) holds the documents one after the other.

    Examples
    --------
    >>> spans_of_documents(np.array([1, 2, 2]), np.array([2, 1]), ["PER"])
    [[(0, 2, 'PER')], [(0, 1, 'PER')]]
    """
    n_classes = len(bio_names(labels))
    if len(tags) and (tags.min() < 0 or tags.max() >= n_classes):
        raise Invalid(f"Tags must be from 0 to {n_classes - 1}; found {tags.min()} to {tags.max()}.")
    repaired = repair_bio(tags, lengths)
    starts = np.flatnonzero(repaired % 2 == 1)
    inside = np.append((repaired > OUTSIDE) & (repaired % 2 == 0), False)
    # A span ends at the first token after its start that is no I-.
    after = np.flatnonzero(~inside)
    ends = after[np.searchsorted(after, starts + 1)]
    first = np.concatenate([[0], np.cumsum(lengths)])
    document = np.searchsorted(first, starts, side="right") - 1
    names = [str(label) for label in labels]
    spans: list[list[Span]] = [[] for _ in lengths]
    for d, start, end, label in zip(
        document.tolist(),
        (starts - first[document]).tolist(),
        (ends - first[document]).tolist(),
        (repaired[starts] // 2).tolist(),
        strict=True,
    ):
        spans[d].append((start, end, names[label]))
    return spans


def repair_bio(tags: IntArray, lengths: IntArray) -> IntArray:
    """Make each I- that continues nothing of its label a B-; a document continues nothing of the one before.

    Examples
    --------
    >>> repair_bio(np.array([2, 2, 0, 2, 4]), np.array([5])).tolist()
    [1, 2, 0, 1, 3]
    """
    label = (tags + 1) // 2
    before = np.concatenate([[OUTSIDE], label])[: len(tags)]
    before[starts_of(lengths)] = OUTSIDE
    stray = (tags > OUTSIDE) & (tags % 2 == 0) & (label != before)
    return np.where(stray, tags - 1, tags)


def starts_of(lengths: IntArray) -> IntArray:
    """Return the row of the first token of each document that has tokens."""
    return (np.cumsum(lengths) - lengths)[lengths > 0]


def span_f1(
    a: Sequence[Iterable[Sequence[Any]]], b: Sequence[Iterable[Sequence[Any]]], *, match: Match = "exact"
) -> SpanF1:
    """Compare two sets of spans over the same documents.

    Parameters
    ----------
    a, b
        For each document a list of ``(start, end, label)``. A span that is given twice counts once. Spans may overlap.
    match
        ``"exact"``: the same start, end and label. ``"overlap"``: the same label and at least one place in common, each
        span matched at most once and as many as possible, so that pieces of a span don't all count.

    Returns
    -------
    SpanF1
        All 1 where neither side has a span, all 0 where only one has.

    Raises
    ------
    Invalid
        Different numbers of documents, an unknown match, or something that is no span.

    Examples
    --------
    >>> truth = [[(0, 2, "PER"), (4, 6, "LOC")], []]
    >>> found = [[(0, 2, "PER"), (5, 6, "LOC")], [(1, 2, "PER")]]
    >>> span_f1(truth, found)
    SpanF1(f1=0.4, precision=0.3333333333333333, recall=0.5, n_a=2, n_b=3)
    >>> span_f1(truth, found, match="overlap").f1
    0.8
    """
    if len(a) != len(b):
        raise Invalid(f"Spans of the same documents are compared; there are {len(a)} and {len(b)} documents.")
    matched, n_a, n_b = (int(counts.sum()) for counts in _matches(_documents(a), _documents(b), match))
    if not n_a and not n_b:
        return SpanF1(1.0, 1.0, 1.0, 0, 0)
    return SpanF1(2 * matched / (n_a + n_b), matched / max(n_b, 1), matched / max(n_a, 1), n_a, n_b)


def span_agreement(
    annotations: Mapping[str, Sequence[Iterable[Sequence[Any]] | None]],
    *,
    match: Match = "exact",
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    random_state: int = 0,
) -> Agreement:
    """Return how far annotators of spans agree: the mean F1 of all pairs, over the documents that both saw.

    F1 needs no count of places without a span, which chance-corrected coefficients need and texts don't have; where
    such places are very many, Cohen's kappa tends to it [1]_.

    Parameters
    ----------
    annotations
        For each annotator a list with one entry a document: its spans, or None where the annotator didn't see it.
    match
        As in :func:`span_f1`.
    confidence
        Of the interval, a percentile bootstrap over documents.
    n_bootstrap, random_state
        How many samples the interval rests on, and their seed.

    Returns
    -------
    Agreement
        ``value``, ``low``, ``high``, and ``n_items``, the documents that two annotators or more saw. All NaN when there
        is no such document.

    Raises
    ------
    Invalid
        Fewer than two annotators, different numbers of documents, or something that is no span.

    References
    ----------
    .. [1] G. Hripcsak, A. S. Rothschild. Agreement, the F-measure, and reliability in information retrieval. JAMIA
       12(3), 2005.

    Examples
    --------
    >>> ana = [[(0, 2, "PER")], [(3, 4, "LOC")], []]
    >>> bo = [[(0, 2, "PER")], [(3, 5, "LOC")], None]
    >>> result = span_agreement({"ana": ana, "bo": bo})
    >>> result.value, result.n_items
    (0.5, 2)
    """
    if len(annotations) < 2:
        raise Invalid(f"Agreement is of two annotators or more, not {len(annotations)}.")
    if not 0 < confidence < 1:
        raise Invalid(f"The confidence must lie between 0 and 1, not {confidence}.")
    if n_bootstrap < 1:
        raise Invalid(f"The interval needs one sample or more, not {n_bootstrap}.")
    if len({len(documents) for documents in annotations.values()}) > 1:
        raise Invalid("Each annotator needs one entry a document, None where the annotator didn't see it.")
    people = [[None if spans is None else _document(spans) for spans in each] for each in annotations.values()]
    seen = np.array([[spans is not None for spans in each] for each in people])
    items = np.flatnonzero(seen.sum(axis=0) >= 2)
    if not len(items):
        return Agreement(np.nan, np.nan, np.nan, 0)
    pairs = [_pair(one, other, items, match) for one, other in combinations(people, 2)]

    def mean_f1(weights: FloatArray) -> FloatArray:
        by_pair = np.array([_weighted_f1(weights, *pair) for pair in pairs])
        there = ~np.isnan(by_pair)
        total = np.where(there, by_pair, 0.0).sum(axis=0)
        mean: FloatArray = np.divide(
            total, there.sum(axis=0), out=np.full(total.shape, np.nan), where=there.any(axis=0)
        )
        return mean

    random = np.random.default_rng(random_state)
    n = len(items)
    chunk = max(1, 4_000_000 // n)  # at most 32 MB of draws at a time
    drawn = [
        mean_f1(random.multinomial(n, np.full(n, 1 / n), size=min(chunk, n_bootstrap - start)).astype(float))
        for start in range(0, n_bootstrap, chunk)
    ]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.concatenate(drawn), [tail, 1 - tail])
    return Agreement(float(mean_f1(np.ones((1, n)))[0]), float(low), float(high), n)


def _pair(
    one: Sequence[set[Span] | None], other: Sequence[set[Span] | None], items: IntArray, match: Match
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return by item: matched spans, spans of both together, and 1 where both saw it (0 and 0 where not)."""
    both = np.array([one[d] is not None and other[d] is not None for d in items])
    a = [one[d] or set() if there else set() for d, there in zip(items, both, strict=True)]
    b = [other[d] or set() if there else set() for d, there in zip(items, both, strict=True)]
    matched, n_a, n_b = _matches(a, b, match)
    return matched.astype(np.float64), (n_a + n_b).astype(np.float64), both.astype(np.float64)


def _weighted_f1(weights: FloatArray, matched: FloatArray, total: FloatArray, both: FloatArray) -> FloatArray:
    """Return F1 of each sample: NaN where no document is common, 1 where the common ones have no span."""
    spans = weights @ total
    f1 = np.divide(2 * (weights @ matched), spans, out=np.ones(len(weights)), where=spans > 0)
    return np.where(weights @ both > 0, f1, np.nan)


def _matches(
    a: Sequence[set[Span]], b: Sequence[set[Span]], match: Match
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return by document: matched spans, spans of ``a``, spans of ``b``."""
    if match not in get_args(Match):
        raise Invalid(f"There is no match {match!r}; there are {', '.join(get_args(Match))}.")
    n_a, n_b = (np.array([len(spans) for spans in side], dtype=np.int64) for side in (a, b))
    if match == "exact":
        return np.array([len(x & y) for x, y in zip(a, b, strict=True)], dtype=np.int64), n_a, n_b
    rows, columns = [], []
    for start_a, start_b, x, y in zip(np.cumsum(n_a) - n_a, np.cumsum(n_b) - n_b, a, b, strict=True):
        for i, (start, end, label) in enumerate(x):
            for j, (other_start, other_end, other) in enumerate(y):
                if label == other and start < other_end and other_start < end:
                    rows.append(start_a + i)
                    columns.append(start_b + j)
    if not rows:
        return np.zeros(len(a), dtype=np.int64), n_a, n_b
    shape = (int(n_a.sum()), int(n_b.sum()))
    graph = sparse.csr_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=shape)
    partner = np.asarray(csgraph.maximum_bipartite_matching(sparse.csr_matrix(graph), perm_type="column"))
    document = np.repeat(np.arange(len(a)), n_a)
    return np.bincount(document[partner >= 0], minlength=len(a)), n_a, n_b


def _documents(documents: Sequence[Iterable[Sequence[Any]]]) -> list[set[Span]]:
    return [_document(spans) for spans in documents]


def _document(spans: Iterable[Sequence[Any]]) -> set[Span]:
    checked = set()
    for span in spans:
        try:
            start, end, label = span
            place = index(start), index(end)
        except (TypeError, ValueError):
            raise Invalid("A span is (start, end, label) with a whole start and end.") from None
        if not 0 <= place[0] < place[1]:
            raise Invalid(f"A span must start at 0 or later and end after its start, not {place[0]} to {place[1]}.")
        checked.add((*place, str(label)))
    return checked
