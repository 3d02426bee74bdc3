from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.spans import SpanF1, bio_to_spans, repair_bio, span_agreement, span_f1, spans_to_bio

LABELS = ["PER", "LOC"]


def test_spans_become_bio_and_come_back():
    spans = [(0, 1, "LOC"), (1, 4, "LOC"), (4, 5, "PER"), (7, 9, "PER")]
    tags = spans_to_bio(reversed(spans), 9, LABELS)
    assert tags.tolist() == [3, 3, 4, 4, 1, 0, 0, 1, 2]
    assert bio_to_spans(tags, LABELS) == spans


def test_any_valid_tags_survive_the_way_there_and_back():
    random = np.random.default_rng(0)
    for _ in range(50):
        n = int(random.integers(0, 30))
        tags = repair_bio(random.integers(0, 5, n), np.array([n]))
        np.testing.assert_array_equal(spans_to_bio(bio_to_spans(tags, LABELS), n, LABELS), tags)


def test_a_stray_inside_starts_a_span():
    assert bio_to_spans([2, 2, 0, 4, 2, 1, 4], LABELS) == [
        (0, 2, "PER"),
        (3, 4, "LOC"),
        (4, 5, "PER"),
        (5, 6, "PER"),
        (6, 7, "LOC"),
    ]
    assert bio_to_spans([], LABELS) == []


def test_a_span_ends_with_its_document():
    tags, lengths = np.array([1, 2, 2, 2, 0, 4]), np.array([2, 0, 3, 1])
    assert repair_bio(tags, lengths).tolist() == [1, 2, 1, 2, 0, 3]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0, 9, "PER")], "ends at 9, and the document has 5"),
        ([(0, 1, "ORG")], "none of the labels"),
        ([(0, 3, "PER"), (2, 4, "LOC")], "lies over another"),
        ([(2, 2, "PER")], "end after its start"),
        ([(-1, 2, "PER")], "start at 0 or later"),
        ([(0.5, 2, "PER")], "whole start"),
        ([(0, 2)], "A span is"),
    ],
)
def test_spans_that_are_no_bio_are_refused(spans, message):
    with pytest.raises(Invalid, match=message):
        spans_to_bio(spans, 5, LABELS)


@pytest.mark.parametrize("tags", [[0, 5], [-1, 0], [0.5], [[0, 1]], [float("nan")]])
def test_tags_outside_the_classes_are_refused(tags):
    with pytest.raises(Invalid):
        bio_to_spans(tags, LABELS)


@pytest.mark.parametrize("labels", [[], "PER", ["PER", "PER"]])
def test_labels_are_checked(labels):
    with pytest.raises(Invalid, match=r"[Ll]abels must"):
        bio_to_spans([0], labels)


def test_f1_by_hand():
    a = [[(0, 2, "PER"), (5, 8, "LOC"), (9, 10, "PER")], [(0, 1, "LOC")]]
    b = [[(0, 2, "PER"), (5, 7, "LOC"), (9, 10, "LOC")], []]
    assert span_f1(a, b) == SpanF1(f1=2 / 7, precision=1 / 3, recall=1 / 4, n_a=4, n_b=3)
    assert span_f1(a, b, match="overlap") == SpanF1(f1=4 / 7, precision=2 / 3, recall=2 / 4, n_a=4, n_b=3)
    assert span_f1(b, a).f1 == span_f1(a, b).f1
    assert span_f1(b, a).precision == span_f1(a, b).recall


def test_without_spans():
    assert span_f1([[], []], [[], []]) == SpanF1(1.0, 1.0, 1.0, 0, 0)
    assert span_f1([[(0, 1, "PER")]], [[]]) == SpanF1(0.0, 0.0, 0.0, 1, 0)
    assert span_f1([], []).f1 == 1.0


def test_a_span_twice_counts_once_and_pieces_count_once():
    assert span_f1([[(0, 4, "PER")]], [[(0, 4, "PER"), (0, 4, "PER")]]).f1 == 1.0
    pieces = [[(0, 1, "PER"), (1, 2, "PER"), (2, 4, "PER")]]
    assert span_f1([[(0, 4, "PER")]], pieces, match="overlap") == SpanF1(0.5, 1 / 3, 1.0, 1, 3)


def test_overlap_finds_as_many_pairs_as_there_are():
    """The long span must leave the short one to the only partner that it has."""
    a, b = [[(0, 10, "PER"), (0, 2, "PER")]], [[(0, 1, "PER"), (5, 6, "PER")]]
    assert span_f1(a, b, match="overlap").f1 == 1.0


def test_touching_spans_do_not_overlap():
    assert span_f1([[(0, 2, "PER")]], [[(2, 3, "PER")]], match="overlap").f1 == 0.0


def test_f1_checks_its_input():
    with pytest.raises(Invalid, match="1 and 2 documents"):
        span_f1([[]], [[], []])
    with pytest.raises(Invalid, match="no match 'fuzzy'"):
        span_f1([[]], [[]], match="fuzzy")  # type: ignore[arg-type]


def test_agreement_is_the_mean_over_pairs_by_hand():
    ana = [[(0, 2, "PER")], [(3, 4, "LOC")], [(0, 1, "PER")], []]
    bo = [[(0, 2, "PER")], [(3, 5, "LOC")], None, []]
    cy = [None, [(3, 4, "LOC")], None, None]
    result = span_agreement({"ana": ana, "bo": bo, "cy": cy})
    # ana-bo: one of two and two; ana-cy: the same; bo-cy: nothing the same. The third document has one annotator.
    assert result.value == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert result.n_items == 3
    assert result.low <= result.value <= result.high
    assert span_agreement({"ana": ana, "bo": bo, "cy": cy}, match="overlap").value == 1.0


def test_agreement_without_common_documents():
    result = span_agreement({"ana": [[], None], "bo": [None, []]})
    assert np.isnan(result.value)
    assert result.n_items == 0


def simulated(random: np.random.Generator, n: int, kept: float) -> list[list[tuple[int, int, str]]]:
    """Each annotator keeps a span of the same text with a probability."""
    return [[(10 * i, 10 * i + 2, "PER") for i in range(5) if random.random() < kept] for _ in range(n)]


def test_the_interval_holds_the_truth():
    random = np.random.default_rng(4)
    kept, missed = 0.8, 0
    for _ in range(100):
        ana, bo = simulated(random, 60, kept), simulated(random, 60, kept)
        result = span_agreement({"ana": ana, "bo": bo}, n_bootstrap=300)
        missed += not result.low <= kept <= result.high
    assert missed <= 13


def test_more_documents_make_the_interval_narrow():
    random = np.random.default_rng(5)
    few, many = (
        span_agreement({name: simulated(random, n, 0.7) for name in ("ana", "bo", "cy")}, n_bootstrap=200)
        for n in (30, 3000)
    )
    assert many.high - many.low < (few.high - few.low) / 5


def test_agreement_checks_its_input():
    with pytest.raises(Invalid, match="two annotators"):
        span_agreement({"ana": [[]]})
    with pytest.raises(Invalid, match="one entry a document"):
        span_agreement({"ana": [[]], "bo": [[], []]})
    with pytest.raises(Invalid, match="confidence"):
        span_agreement({"ana": [[]], "bo": [[]]}, confidence=95)
    with pytest.raises(Invalid, match="one sample"):
        span_agreement({"ana": [[]], "bo": [[]]}, n_bootstrap=0)
    with pytest.raises(Invalid, match="no match"):
        span_agreement({"ana": [[]], "bo": [[]]}, match="near")  # type: ignore[arg-type]
