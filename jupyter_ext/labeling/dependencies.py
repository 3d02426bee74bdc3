"""Voters that repeat each other: found from how often each two agree, beyond what the classes explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.special import betainc, gammainc

from jupyter_ext.labeling.cells import Cells, joint_counts, onehot
from jupyter_ext.labeling.votes import FloatArray, IntArray, VoteMatrix, as_votes

#: Share of false findings among the pairs found.
_FALSE_SHARE = 0.01
#: The least excess of a pair, and on how many rows two voters must agree at least.
_LEAST_EXCESS, _LEAST_OVERLAP = 0.2, 10
#: A fit takes no notice of less: ordinary likeness of patterns, or of good voters where a bad one's copies are many.
_FIT_EXCESS = 0.3
#: Who repeats so large a share of a voter's votes beyond the expected is a copy of it.
_COPY = 0.8
#: A note names so many voters of a cluster.
_MOST_NAMES = 6
#: More (voter, class) cells, or more numbers in their loadings, are fitted class by class: some ten square matrices of
#: so many cells take 1.3 GB.
_MOST_CELLS, _MOST_LOADINGS = 4_000, 4_000_000
#: How large a loading may be expected to be: a voter that is always right about a class of 6 % has 4.
_LARGE_LOADING = 4.0
#: Residuals beyond so many deviations lose their say in the fit: at first only enormous ones.
_OUTLYING, _FIRST_OUTLYING = 2.5, 100.0
#: The power of their being unlike by which pairs have a say at first, in the fit that looks for copies.
_CAREFUL = 3
#: One fit is preferred to another that has so many times the outlying pairs, and these more. Which of two groups of
#: voters alike shows the class and which are copies no count can tell: copies may be half as many again as good voters.
_CLEARLY_MORE, _A_FEW = 2.5, 1.5
_ITERATIONS, _SETTLED = 50, 2e-3
#: Pairs tell how the counts scatter where so many rows are expected.
_TELLING = 3
#: From so many pairs on, their scatter tells how far the counts are from what the model says of them.
_ENOUGH_PAIRS = 20
#: The median of a squared standard normal number.
_MEDIAN_SQUARE = 0.4549
#: A fit compares voters on a sample of so many rows at most, and at least; fewer than most where rows are long.
_MOST_ROWS, _LEAST_ROWS, _SAMPLE_PRODUCTS = 100_000, 10_000, 20_000_000
#: More work than this a fit doesn't take to compare voters: some two seconds.
_MOST_WORK = 2_000_000.0


def find_correlated(
    votes: VoteMatrix | npt.ArrayLike, *, threshold: float = _LEAST_EXCESS, min_overlap: int = _LEAST_OVERLAP
) -> pd.DataFrame:
    r"""Find pairs of voters that agree more than their accuracies explain: copies, and patterns within patterns.

    Parameters
    ----------
    votes
        (n rows, m voters), -1 where a voter abstains.
    threshold
        The least ``excess`` of a pair, from 0 to 1.
    min_overlap
        On how many rows two voters must agree at least.

    Returns
    -------
    DataFrame
        One line a pair, the strongest first: ``voter``, ``other``; ``excess``, how much of the agreement that could
        be had beyond the expected one there is (0: what their accuracies explain; 1: one repeats all the other says);
        ``p_value``, adjusted so that at most 1 % of the lines are false on average; ``cluster``, a number from 0, the
        same for voters that pairs connect.

    Notes
    -----
    Let ``a`` and ``b`` be (voter, class) cells of two voters, ``x_a`` the indicator of that vote. Given the true class
    the voters are independent, so ``P(a, b) / (P(a) P(b)) - 1 = β_a · β_b`` with loadings of ``k - 1`` numbers: the
    covariance of the votes is of low rank but for pairs that depend on each other beyond the class. The loadings are
    fitted to all pairs by reweighted least squares in which outlying pairs lose their say, so that a pair is judged by
    what the other voters tell of its two. No consensus is needed of the rows, and no class prior, which sparse
    functions of one class each would give wrongly. The excess ``Σ_c count - expected`` is compared with its variance,
    of counting and of the loadings; where the pairs scatter more than that (long texts match every pattern), the
    variance is raised to what is seen (Devlin and Roeder). Silence is an observation for functions and models; pairs
    with a person are judged on the rows that the person voted on.

    References
    ----------
    P. Varma, F. Sala, A. He, A. Ratner, C. Ré. Learning dependency structures for weak supervision models. ICML 2019,
    section 3: low rank from the class, sparse from the dependencies.

    B. Devlin, K. Roeder. Genomic control for association studies. Biometrics 55(4), 1999.

    Y. Benjamini, D. Yekutieli. The control of the false discovery rate in multiple testing under dependency.
    Annals of Statistics 29(4), 2001.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> truth = random.integers(0, 2, 2000)
    >>> L = np.where(random.random((2000, 5)) < 0.8, truth[:, None], 1 - truth[:, None])
    >>> L[:, 4] = L[:, 3]
    >>> find_correlated(VoteMatrix.from_dense(L))[["voter", "other", "excess", "cluster"]].values.tolist()
    [['voter_3', 'voter_4', 1.0, 0]]
    """
    matrix = as_votes(votes)
    pairs = _pairs(matrix)
    found = pairs.found(threshold, min_overlap)
    first, second = np.nonzero(np.triu(found, 1))
    m = matrix.shape[1]
    _, member = connected_components(sparse.csr_array(found), directed=False) if m else (0, np.zeros(0, np.int64))
    _, cluster = np.unique(member[first], return_inverse=True)
    names = np.array(matrix.voters, dtype=object)
    table = pd.DataFrame(
        {
            "voter": names[first],
            "other": names[second],
            "excess": pairs.excess[first, second],
            "p_value": pairs.p_value[first, second],
            "cluster": cluster,
        }
    )
    return table.sort_values("excess", ascending=False, kind="stable", ignore_index=True)


def vote_weights(
    votes: VoteMatrix | npt.ArrayLike, *, threshold: float = _LEAST_EXCESS, min_overlap: int = _LEAST_OVERLAP
) -> FloatArray:
    """Return what a vote of each voter should count, shape (m,): 1, and less where others say the same anyway.

    Of ``s`` copies each gets ``1 / s``. In between, the weight is one over one plus the shares of the voter's votes
    that each of the others repeats beyond the expected (a ``threshold`` of which counts as none, 0.8 as all). A voter
    whose votes are all among those of a much broader one loses up to half; the broader one hardly anything.

    Parameters are those of :func:`find_correlated`.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> truth = random.integers(0, 2, 2000)
    >>> L = np.where(random.random((2000, 5)) < 0.8, truth[:, None], 1 - truth[:, None])
    >>> L[:, 4] = L[:, 3]
    >>> vote_weights(L).tolist()
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """
    pairs = _pairs(as_votes(votes))
    return pairs.weights(pairs.found(threshold, min_overlap), threshold)


@dataclass(frozen=True)
class Repeats:
    """Voters that repeat each other, as a fit needs to know them: (m,) weights, pairs of numbers, sentences."""

    #: What a vote of each voter should count, as :func:`vote_weights` says.
    weights: FloatArray
    pairs: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()


def find_repeats(votes: VoteMatrix) -> Repeats:
    """Find functions and models that repeat each other, within the time that a fit can spare: from a sample of rows.

    With very many voters or classes nothing is compared, and the notes say so. People are not compared: they agree on
    easy rows and err on hard ones together, and to count them less for that makes labels of crowds worse.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> truth = random.integers(0, 2, 2000)
    >>> L = np.where(random.random((2000, 5)) < 0.8, truth[:, None], 1 - truth[:, None])
    >>> L[:, 4] = L[:, 3]
    >>> find_repeats(VoteMatrix.from_dense(L)).notes
    ('voter_3 and voter_4 repeat each other (excess 1.00): each counts 0.50.',)
    """
    weights = np.ones(votes.shape[1])
    asked = np.flatnonzero([kind != "person" for kind in votes.kinds])
    if len(asked) < 2:
        return Repeats(weights)
    some = _sample(votes, asked)
    if _work(some) > _MOST_WORK:
        size = f"{len(asked)} voters and {votes.n_classes} classes"
        return Repeats(weights, notes=(f"Voters that repeat each other were not looked for: {size} are too many.",))
    pairs = _pairs(some)
    found = pairs.found(_FIT_EXCESS, _LEAST_OVERLAP)
    weights[asked] = pairs.weights(found, _FIT_EXCESS)
    first, second = np.nonzero(np.triu(found, 1))
    return Repeats(
        weights,
        tuple(zip(asked[first].tolist(), asked[second].tolist(), strict=True)),
        tuple(_told(some, cluster, pairs.excess, found, weights[asked]) for cluster in _clusters(found)),
    )


def _clusters(found: npt.NDArray[np.bool_]) -> list[IntArray]:
    """Return the numbers of the voters of each cluster of two or more."""
    _, member = connected_components(sparse.csr_array(found), directed=False)
    return [np.flatnonzero(member == c) for c in np.flatnonzero(np.bincount(member) > 1)]


def _told(
    votes: VoteMatrix, cluster: IntArray, excess: FloatArray, found: npt.NDArray[np.bool_], weights: FloatArray
) -> str:
    names = [votes.voters[j] for j in cluster]
    if len(names) > _MOST_NAMES:
        names = [*names[:_MOST_NAMES], f"{len(names) - _MOST_NAMES} others"]
    inside = np.ix_(cluster, cluster)
    how_much, each = _range(excess[inside][found[inside]]), _range(weights[cluster])
    return f"{', '.join(names[:-1])} and {names[-1]} repeat each other (excess {how_much}): each counts {each}."


def _range(values: FloatArray) -> str:
    least, most = f"{values.min():.2f}", f"{values.max():.2f}"
    return least if least == most else f"{least} to {most}"


def _sample(votes: VoteMatrix, voters: IntArray) -> VoteMatrix:
    """Return the votes of some voters on so many rows that comparing all pairs of votes in them takes little time."""
    n, lengths = votes.shape[0], np.diff(votes.rows.indptr).astype(np.float64)
    products = max(float(lengths @ lengths) / max(n, 1), 1e-9)
    most = int(np.clip(_SAMPLE_PRODUCTS / products, _LEAST_ROWS, _MOST_ROWS))
    if n > most:
        votes = votes.take(np.sort(np.random.default_rng(0).choice(n, most, replace=False)))
    if len(voters) == votes.shape[1]:
        return votes
    stored, kinds = sparse.csc_array(votes.rows[:, voters]), tuple(votes.kinds[j] for j in voters)
    return VoteMatrix(stored, tuple(votes.voters[j] for j in voters), votes.n_classes, kinds)


def _work(votes: VoteMatrix) -> float:
    """Say how much work comparing the voters is, in microseconds or so."""
    m, k = votes.shape[1], votes.n_classes
    cells = Cells(votes.rows, k)
    per_class = np.bincount(cells.of_class, minlength=k).astype(np.float64)
    if len(cells) <= _MOST_CELLS and len(cells) * (k - 1) ** 2 <= _MOST_LOADINGS:
        return m**2 + len(cells) ** 2 * (1 + (k - 1) ** 2 / 100)
    return m**2 + float((per_class**2 + 2500).sum())


@dataclass(frozen=True)
class _Pairs:
    """All pairs of voters; each array is (m, m)."""

    agreed: FloatArray
    excess: FloatArray
    #: The share of the first one's votes that the second one repeats beyond the expected.
    repeated: FloatArray
    p_value: FloatArray

    def found(self, threshold: float, min_overlap: int) -> npt.NDArray[np.bool_]:
        """Return which pairs depend on each other, symmetric."""
        found: npt.NDArray[np.bool_] = (
            (self.p_value <= _FALSE_SHARE) & (self.excess >= threshold) & (self.agreed >= max(min_overlap, 1))
        )
        return found

    def weights(self, found: npt.NDArray[np.bool_], threshold: float) -> FloatArray:
        """Return what a vote of each voter should count, (m,)."""
        repeated = np.clip((self.repeated - threshold) / max(_COPY - threshold, 1e-9), 0.0, 1.0)
        return np.asarray(1.0 / (1.0 + np.where(found, repeated, 0.0).sum(axis=1)))


def _pairs(votes: VoteMatrix) -> _Pairs:
    m, k, rows = votes.shape[1], votes.n_classes, votes.rows
    cells = Cells(rows, k)
    cell = cells.numbers(rows)
    person = np.array([kind == "person" for kind in votes.kinds], dtype=bool)
    size = _compared_rows(votes, person)
    balance = np.maximum(_vote_balance(rows, k), 0.01)
    balance /= balance.sum()
    together = len(cells) <= _MOST_CELLS and len(cells) * (k - 1) ** 2 <= _MOST_LOADINGS
    groups = [np.arange(len(cells))] if together else [np.flatnonzero(cells.of_class == c) for c in range(k)]
    sums = _Sums(size)
    for group in groups:
        if not len(group):
            continue
        voter, of_class = cells.voter[group], cells.of_class[group]
        number = np.full(len(cells), -1)
        number[group] = np.arange(len(group))
        counts = joint_counts(rows, number[cell], len(group))
        among = np.repeat(np.diag(counts)[:, None], len(group), axis=1)
        asked = person[voter]
        if asked.any():
            said = onehot(rows, rows.indices, m)
            on_rows_of = (onehot(rows, number[cell], len(group)).T @ said).toarray()
            among[:, asked] = on_rows_of[:, voter[asked]]
        block = _Block(voter, of_class, counts, among, size[np.ix_(voter, voter)])
        block.fit(_first_loadings(of_class, balance, together=together))
        sums.add(block)
    return sums.judged()


def _compared_rows(votes: VoteMatrix, person: npt.NDArray[np.bool_]) -> FloatArray:
    """Count the rows on which two voters can be compared, (m, m): all, or those that a person was asked about."""
    n, m = votes.shape
    size = np.full((m, m), float(n))
    if person.any():
        asked = joint_counts(votes.rows, votes.rows.indices, m)
        own = np.diag(asked)
        size[person] = own[person, None]
        size[:, person] = own[None, person]
        people = np.ix_(person, person)
        size[people] = asked[people]
    return size


def _vote_balance(rows: sparse.csr_array, n_classes: int) -> FloatArray:
    counts = np.bincount(rows.data.astype(np.int64) - 1, minlength=n_classes).astype(np.float64)
    return counts / max(float(counts.sum()), 1.0)


def _first_loadings(of_class: IntArray, balance: FloatArray, *, together: bool) -> FloatArray:
    """Return the loadings of voters that are somewhat better than chance, shape (cells, rank)."""
    better = 0.5
    if not together:
        return better * np.sqrt((1 - balance) / balance)[of_class][:, None]
    root = np.sqrt(balance)
    # A class points where its own share is one, seen from the mean of all; such vectors span one dimension less than k.
    corners = np.diag(1 / root) - root
    basis = np.linalg.svd(root[None, :])[2][1:]
    return np.asarray(better * corners[of_class] @ basis.T)


class _Block:
    """Cells whose joint counts are fitted together, ``counts`` (cells, cells)."""

    loadings: FloatArray
    #: Variance of the products of loadings, (cells, cells).
    spread: FloatArray

    def __init__(
        self, voter: IntArray, of_class: IntArray, counts: FloatArray, among: FloatArray, size: FloatArray
    ) -> None:
        self.voter, self.of_class, self.counts = voter, of_class, counts
        self.size = np.maximum(size, 1.0)
        #: How often the first cell occurs on the rows that the two can be compared on.
        self.share = among / self.size
        self.independent = self.share * self.share.T * self.size

    def fit(self, start: FloatArray) -> None:
        """Find the loadings, from two sides, and keep those by which fewer pairs are outlying.

        A first fit that listens little to pairs that are much alike finds the class where there are copies of a voter;
        one that listens to all finds a small class whose voters are alike because they are good.
        """
        share, other = self.share, self.share.T
        spread = self.size * np.sqrt(share * (1 - share) * other * (1 - other))
        alike = np.maximum(np.abs(self.counts - self.independent) / np.maximum(spread, 1e-9), self._kappa())
        careful = self._fitted(start, (1 - np.minimum(alike, 1.0)) ** _CAREFUL)
        fit = careful
        if careful.outlying > _A_FEW:
            trusting = self._fitted(start, np.ones_like(alike))
            fit = careful if careful.outlying <= _CLEARLY_MORE * trusting.outlying + _A_FEW else trusting
        mine = fit.covariance @ _outer(fit.loadings).T
        self.loadings, self.spread = fit.loadings, mine + mine.T + fit.covariance @ fit.covariance.T

    def _kappa(self) -> FloatArray:
        """Return Cohen's kappa of the voters of each two cells where both vote, (cells, cells); 0 for one class."""
        voters, mine = np.unique(self.voter, return_inverse=True)
        of_voter = sparse.csr_array((np.ones(len(mine)), (mine, np.arange(len(mine)))), shape=(len(voters), len(mine)))
        said = np.zeros((len(voters), int(self.of_class.max()) + 1))
        said[mine, self.of_class] = np.diag(self.counts)
        said /= said.sum(axis=1, keepdims=True)
        chance = said @ said.T
        both = of_voter @ (of_voter @ self.counts).T
        agreed = of_voter @ (of_voter @ np.where(self.of_class[:, None] == self.of_class, self.counts, 0.0)).T
        kappa = np.where(
            (both > 0) & (chance < 1 - 1e-9),
            (agreed - both * chance) / np.maximum(both * (1 - chance), 1e-9),
            0.0,
        )
        return np.asarray(kappa[np.ix_(mine, mine)])

    def _fitted(self, start: FloatArray, trust: FloatArray) -> _Fit:
        """Fit by reweighted least squares, all cells at a time, halfway each time so that they settle.

        Outlying pairs lose their say little by little, or the fit would settle with what the start explains; until
        then ``trust`` tells how much each pair counts.
        """
        n_cells, rank = start.shape
        usable = (self.voter[:, None] != self.voter) & (self.independent > 0)
        share, other = self.share, self.share.T
        fixed = (share * other) ** 2 + share * other * (share * (1 - 2 * other) + other * (1 - 2 * share))
        slope = (1 - 2 * share) * (1 - 2 * other)
        least = 0.1 * share * (1 - share) * other * (1 - other) + 1e-12
        told = usable & (self.independent >= _TELLING)
        lift = np.where(usable, self.counts / np.where(usable, self.independent, 1.0) - 1, 0.0)
        ridge = np.eye(rank) / _LARGE_LOADING**2
        loadings = start
        for step in range(_ITERATIONS):
            bound = max(_OUTLYING, _FIRST_OUTLYING * 0.75**step)
            product = np.maximum(loadings @ loadings.T, -0.9)
            both = self.independent / self.size * (1 + product)
            variance = self.size * np.maximum(fixed + slope * both - (both - share * other) ** 2, least)
            # Where hardly anything is expected, a single count is no outlier.
            deviations = np.abs(lift - product) * self.independent / np.sqrt(variance + 2)
            scale = max(1.0, 1.4826 * float(np.median(deviations[told]))) if told.any() else 1.0
            weight = np.where(usable, self.independent**2 / (variance * scale**2), 0.0)
            weight /= (1 + (deviations / (bound * scale)) ** 2) ** 2
            if bound > _OUTLYING:
                weight *= trust
            precision = (weight @ _outer(loadings)).reshape(n_cells, rank, rank) + ridge
            wanted = np.linalg.solve(precision, ((weight * lift) @ loadings)[:, :, None])[:, :, 0]
            moved = float(np.abs(wanted - loadings).max(initial=0.0))
            loadings = (loadings + wanted) / 2
            if moved < _SETTLED and bound == _OUTLYING:
                break
        outlying = float((usable & (deviations > 2 * _OUTLYING)).sum()) / 2
        covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64).reshape(n_cells, rank**2)
        return _Fit(loadings, covariance, outlying)


def _outer(loadings: FloatArray) -> FloatArray:
    return (loadings[:, :, None] * loadings[:, None, :]).reshape(len(loadings), loadings.shape[1] ** 2)


@dataclass(frozen=True)
class _Fit:
    """Loadings (cells, rank), the covariance of each (cells, rank²), and how many pairs are outlying."""

    loadings: FloatArray
    covariance: FloatArray
    outlying: float


class _Sums:
    """What the blocks tell of each pair of voters, added up over the classes; every array is (m, m)."""

    def __init__(self, size: FloatArray) -> None:
        self._size = np.maximum(size, 1.0)
        self._agreed, self._expected, self._most, self._votes = (np.zeros_like(size) for _ in range(4))
        self._chance, self._tilt, self._tilted, self._cross = (np.zeros_like(size) for _ in range(4))
        self._spread = np.zeros_like(size)

    def add(self, block: _Block) -> None:
        """Add the pairs of cells of the same class."""
        products = np.maximum(block.loadings @ block.loadings.T, -0.99)
        rank = block.loadings.shape[1]
        bent = [np.zeros_like(self._size) for _ in range(rank)]
        for c in np.unique(block.of_class):
            cells = np.flatnonzero(block.of_class == c)
            inside, voters = np.ix_(cells, cells), np.ix_(block.voter[cells], block.voter[cells])
            share, size = block.share[inside], block.size[inside]
            chance, sides = share * share.T, share + share.T
            both = chance * (1 + products[inside])
            self._agreed[voters] += block.counts[inside]
            self._expected[voters] += size * both
            self._most[voters] += size * np.minimum(share, share.T)
            self._votes[voters] += size * share
            self._spread[voters] += (size * chance) ** 2 * block.spread[inside]
            self._chance[voters] += chance
            self._tilt[voters] += chance * sides
            self._tilted[voters] += both * sides
            for r in range(rank):
                bent[r][voters] += chance * block.loadings[cells, r][:, None]
        for part in bent:
            self._cross += part * part.T

    def judged(self) -> _Pairs:
        """Compare what was counted with what was expected."""
        # Of S = Σ_c (x_ic - f_ic)(x_jc - f_jc), what a row adds to the excess: E[S²] - E[S]², with the joint
        # probabilities of the fit. Classes are not independent: who votes for one doesn't vote for another.
        chance, both = self._chance, self._expected / self._size
        square = both * (1 + 2 * chance) - 2 * self._tilted - chance**2 + self._tilt + 2 * self._cross
        least = 0.1 * (chance - chance**2)
        variance = self._size * np.maximum(square - (both - chance) ** 2, np.maximum(least, 1e-12)) + self._spread
        excess = self._agreed - self._expected
        upper = np.triu(chance > 0, 1)
        told = upper & (self._expected >= _TELLING)
        if told.sum() >= _ENOUGH_PAIRS:
            variance *= max(1.0, float(np.median(excess[told] ** 2 / variance[told])) / _MEDIAN_SQUARE)
        p_value = np.ones_like(excess)
        if upper.any():
            tails = _upper_tail(self._agreed[upper], self._expected[upper], variance[upper])
            p_value[upper] = _adjusted(tails)
        with np.errstate(invalid="ignore", divide="ignore"):
            shared = np.where(upper | upper.T, excess / (self._most - self._expected), 0.0)
            repeated = np.where(upper | upper.T, excess / (self._votes - self._expected), 0.0)
        return _Pairs(self._agreed, np.nan_to_num(shared), np.nan_to_num(repeated), np.minimum(p_value, p_value.T))


def _adjusted(p_values: FloatArray) -> FloatArray:
    """Adjust p-values (Benjamini and Yekutieli). SciPy's does the same; to import it takes longer than most fits."""
    n = len(p_values)
    order, rank = np.argsort(p_values), np.arange(1, n + 1)
    least = np.minimum.accumulate((p_values[order] * n * (1 / rank).sum() / rank)[::-1])[::-1]
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(least, 1.0)
    return adjusted


def _upper_tail(counts: FloatArray, mean: FloatArray, variance: FloatArray) -> FloatArray:
    """Return how probable at least these counts are, given mean and variance.

    With more variance than a Poisson number has it is a negative binomial number, with less a Poisson number that is
    moved so that both moments fit.
    """
    wide = variance > mean * (1 + 1e-6)
    size = np.where(wide, mean**2 / np.where(wide, variance - mean, 1.0), 1.0)
    scattered = betainc(np.maximum(counts, 1e-9), size, np.where(wide, 1 - mean / variance, 0.5))
    moved = counts - mean + variance
    regular = np.where(moved > 0, gammainc(np.maximum(moved, 1e-9), variance), 1.0)
    return np.where(counts <= 0, 1.0, np.where(wide, scattered, regular))
