"""Two-sample tests over ordered values: Kolmogorov-Smirnov and Wasserstein, ties and grids included. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import optimize, special, stats

from jupyter_ext.monitoring.statistics import DRAWS, MID_P_ROWS, Counts, Floats, Outcome, simulated_test

#: Up to this many rows on both sides together, Kolmogorov-Smirnov p-values are exact (path counts fit a double);
#: with ties, which have to be counted anew for each feature, up to fewer.
EXACT_KS_ROWS, EXACT_TIED_ROWS = 1000, 100
#: Places at which a long column is looked at for ties, on each side.
_PLACES = 256
#: A step of the pooled distribution from which on it is taken singly, how much of many small ones is taken together,
#: and what is too narrow to be taken at all.
_BIG_STEP, _TOGETHER, _SLIVER = 1 / 32, 1 / 8, 1 / 64
#: How far a random walk overshoots a boundary, in its steps: -zeta(1/2) / sqrt(2 pi); Siegmund 1985, chapter X.
_OVERSHOOT = 0.5826
#: Values at both ends that are cells of their own: a heavy tail is far away, and few rows.
_EXTREMES = 8
_EXACT_ONE_SAMPLE = 40
_NORMAL_ROWS = 30
#: Where 1 - P has lost its digits, the law without ties takes over; it is never smaller.
_FEWEST_DIGITS = 1e-8


@dataclass(frozen=True)
class Places:
    """Where the distance of two distributions is looked at, and what lies between.

    Parameters
    ----------
    ends
        Rows of both sides at or below each place, shape (k,), the last one all of them.
    ties
        Rows, shape (k,): of what lies between a place and the one before, how much comes in one step. All of it where
        values are equal or only the place is known (a grid); 0 where values follow each other singly.
    """

    ends: Counts
    ties: Counts


def places_on(reference: Counts, current: Counts) -> Places | None:
    """Return the places of counts in cells of a line, None when no cell holds two rows."""
    pooled = reference + current
    return Places(np.cumsum(pooled), pooled) if pooled.max() > 1 else None


def places_of(x: Floats, y: Floats, x_below: int = 0, y_below: int = 0) -> Places | None:
    """Return the places of two sorted samples, None when no two values are equal.

    Examples
    --------
    >>> places_of(np.array([1.0, 2.0]), np.array([1.5, 3.0])) is None
    True
    >>> places_of(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0]), x_below=1).ends.tolist()
    [1, 1, 4, 4, 6]
    """
    sides = [side for side in (x, y) if len(side)]
    points = np.unique(np.concatenate([side[:: max(1, len(side) // _PLACES)] for side in sides] or [np.empty(0)]))
    below = x_below + y_below
    after = np.searchsorted(x, points, "right") + np.searchsorted(y, points, "right") + below
    before = np.searchsorted(x, points, "left") + np.searchsorted(y, points, "left") + below
    equal = after - before
    if below <= 1 and (not len(points) or equal.max() <= 1):
        return None
    # Between two places ties are as large as at them.
    between = (equal + np.append(equal[:1], equal[:-1])) // 2 - 1
    gaps = np.diff(np.stack([before, after], axis=1).ravel(), prepend=below)
    ties = np.stack([np.minimum(between, gaps[::2]), gaps[1::2]], axis=1).ravel()
    ends = np.stack([before, after], axis=1).ravel()
    total = len(x) + len(y) + below
    rest = total - (int(ends[-1]) if len(ends) else below)
    ends, ties = np.append(below, ends), np.append(below, ties)
    if rest:
        ends, ties = np.append(ends, total), np.append(ties, min(rest, int(between[-1])))
    return Places(ends, ties)


def ks_distance(x: Floats, y: Floats, x_below: int = 0, y_below: int = 0) -> float:
    """Return the largest distance between two empirical distribution functions, ties included.

    Parameters
    ----------
    x, y
        Sorted values, shapes (n,) and (m,).
    x_below, y_below
        Further rows that lie below every value: missing ones.

    Notes
    -----
    D = sup |F(t) - G(t)|; Hodges, "The significance probability of the Smirnov two-sample test", 1958.
    F rises only at the points of x, so F - G is largest right after one of them and G - F right before one.

    Examples
    --------
    >>> ks_distance(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0, 5.0]))
    0.5
    >>> ks_distance(np.array([1.0]), np.array([1.0]), x_below=1, y_below=0)
    0.5
    """
    if len(x) > len(y):
        x, y, x_below, y_below = y, x, y_below, x_below
    n, m = len(x) + x_below, len(y) + y_below
    # In whole numbers, so that equal distances are equal.
    distance = abs(x_below * m - y_below * n)
    if len(x):
        f = (x_below + np.arange(len(x) + 1)) * m
        g_after = (y_below + np.searchsorted(y, x, side="right")) * n
        g_before = (y_below + np.searchsorted(y, x, side="left")) * n
        distance = max(distance, int((f[1:] - g_after).max()), int((g_before - f[:-1]).max()))
    return distance / (n * m)


# --- the law of Kolmogorov and Smirnov ------------------------------------------------------------------------------


def _exact_p_value(distance: int, n: int, m: int, ends: Counts | None = None) -> float:
    """Return P(n·m·D >= distance) by counting the lattice paths that stay inside the band.

    Hodges 1958, section 3; with ties only the paths' points at their ends count: Schröer and Trenkler, "Exact and
    randomization distributions of Kolmogorov-Smirnov tests two or three samples", 1995.
    """
    inside = np.zeros(m + 1)
    columns = np.arange(m + 1)
    looked_at = np.ones(n + m + 1, bool)
    if ends is not None:
        looked_at[:] = False
        looked_at[ends] = True
    inside[0] = 1.0
    for i in range(n + 1):
        allowed = (np.abs(i * m - columns * n) < distance) | ~looked_at[i : i + m + 1]
        if allowed.all():
            inside = np.cumsum(inside)
            continue
        # A path cannot step over a point that is not allowed: sum within each run of allowed ones.
        total = np.cumsum(np.where(allowed, inside, 0.0))
        blocked = np.maximum.accumulate(np.where(allowed, 0.0, total))
        inside = np.where(allowed, total - blocked, 0.0)
    return float(max(0.0, 1.0 - inside[m] / math.comb(n + m, n)))


_cached_p_value = lru_cache(maxsize=4096)(_exact_p_value)


@dataclass(frozen=True)
class _Law:
    """The null law of a Kolmogorov-Smirnov distance between n and m rows, as its survival function and inverse."""

    n: int
    m: int
    places: Places | None

    @property
    def scale(self) -> float:
        """One over the square root of the effective number of rows."""
        return math.sqrt(1 / self.n + 1 / self.m)

    @property
    def exact(self) -> bool:
        return self.n + self.m <= (EXACT_KS_ROWS if self.places is None else EXACT_TIED_ROWS)

    @cached_property
    def blocks(self) -> list[tuple[float, float | None]]:
        return _blocks(self.places) if self.places else []

    def sf(self, distance: float) -> float:
        """Return P(D >= distance); where D lives on a lattice, its point at the distance itself counts by half."""
        if not self.exact or min(self.n, self.m) < MID_P_ROWS:
            return self.tail(distance)
        return (self.tail(distance) + self.tail(distance + math.gcd(self.n, self.m) / (self.n * self.m))) / 2

    @cached_property
    def _tails(self) -> dict[int, float]:
        return {}

    def tail(self, distance: float) -> float:
        """Return P(D >= distance)."""
        if distance <= 0:
            return 1.0
        if self.exact:
            steps, few, many = round(distance * self.n * self.m), min(self.n, self.m), max(self.n, self.m)
            if self.places is None:
                exact = _cached_p_value(steps, few, many)
            else:
                if steps not in self._tails:
                    self._tails[steps] = _exact_p_value(steps, few, many, self.places.ends)
                exact = self._tails[steps]
            if exact > 1e-9:  # below, 1 - x has lost its digits
                return exact
            return min(1e-9, self._smooth(distance))
        if self.places is None:
            return self._smooth(distance)
        blocks = self.blocks
        if all(step is not None for _, step in blocks):
            return self._smooth(distance + self.scale * _shift(blocks))
        # Never more than without ties; the last digits of 1 - P are lost.
        return min(max(_bridge_sf(distance / self.scale, blocks), _FEWEST_DIGITS), self._smooth(distance))

    @property
    def effective(self) -> int:
        """n·m/(n + m), rounded: the rows of one sample against a known law that are worth as much."""
        return max(1, round(1 / self.scale**2))

    def _smooth(self, distance: float) -> float:
        return _smooth_sf(distance, self.effective)

    def isf(self, level: float) -> float | None:
        if self.exact:
            return self._lattice_isf(level)
        smooth = _smooth_isf(level, self.effective)
        if self.places is None:
            return smooth if smooth <= 1 else None
        blocks = self.blocks
        if all(step is not None for _, step in blocks):
            shifted = smooth - self.scale * _shift(blocks)
            return shifted if shifted <= 1 else None
        if level <= _FEWEST_DIGITS or len(blocks) == 1 or self.sf(min(1.0, smooth)) > level:
            return smooth if smooth <= 1 else None

        def excess(distance: float) -> float:
            return math.log(self.sf(distance)) - math.log(level)

        found: float = optimize.brentq(excess, 1e-3 * self.scale, min(1.0, smooth), xtol=1e-5 * self.scale)
        return found

    def _lattice_isf(self, level: float) -> float | None:
        n, m = self.n, self.m
        step = math.gcd(n, m)
        most = n * m // step  # in steps of the lattice on which D lives
        if self.sf(1.0) > level:
            return None

        def reached(place: int) -> bool:
            return self.sf(place * step / (n * m)) <= level

        # The law without ties is near, and with ties the threshold is lower: go away from it by doubling, then halve.
        low = high = min(most, max(1, round(_smooth_isf(level, self.effective) * n * m / step)))
        width = 1
        while low and reached(low):
            low, high, width = max(0, low - width), low, 2 * width
        while not reached(high):
            low, high, width = high, min(most, high + width), 2 * width
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if reached(middle) else (middle, high)
        return high * step / (n * m)


def _smooth_sf(distance: float, rows: int) -> float:
    """Return the one-sample law of Kolmogorov: exact for few rows, by an expansion beyond, where the exact one is slow.

    Vrbik, "Small-sample corrections to Kolmogorov-Smirnov test statistic", 2018; off by less than 0.0003 from 40 rows.
    """
    if rows <= _EXACT_ONE_SAMPLE:
        return float(stats.kstwo.sf(distance, rows))
    scaled = math.sqrt(rows) * distance
    return float(special.kolmogorov(max(0.0, scaled + 1 / (6 * math.sqrt(rows)) + (scaled - 1) / (4 * rows))))


@lru_cache(maxsize=4096)
def _smooth_isf(level: float, rows: int) -> float:
    if rows <= _EXACT_ONE_SAMPLE:
        return float(stats.kstwo.isf(level, rows))
    limit = float(special.kolmogi(level))
    return (limit - 1 / (6 * math.sqrt(rows)) + 1 / (4 * rows)) / (1 + 1 / (4 * rows)) / math.sqrt(rows)


def _blocks(places: Places) -> list[tuple[float, float | None]]:
    """Return the pooled distribution as blocks: their shares, and the inner step of each; None for one big step."""
    total = int(places.ends[-1])
    steps = np.diff(places.ends, prepend=0)
    steps, ties = steps[steps > 0] / total, places.ties[steps > 0] / total
    big = (steps >= _BIG_STEP) & (ties >= steps)
    part = np.floor((np.cumsum(steps) - steps) / _TOGETHER)
    begins = big | np.append(True, big[:-1]) | (np.diff(part, prepend=-1) > 0)
    starts = np.flatnonzero(begins)
    sums = np.add.reduceat(steps, starts)
    roots = np.add.reduceat(steps * np.sqrt(np.maximum(ties, 0.0)), starts) / sums
    blocks = [
        (share, None if single else root**2)
        for share, root, single in zip(sums.tolist(), roots.tolist(), big[starts].tolist(), strict=True)
    ]
    joined: list[tuple[float, float | None]] = []
    for share, inner in blocks:  # a sliver between two big steps is too narrow to integrate over
        if joined and (share < _SLIVER or joined[-1][0] < _SLIVER):
            last, last_inner = joined.pop()
            joined.append((last + share, last_inner if last > share else inner))
        else:
            joined.append((share, inner))
    return joined


def _shift(blocks: list[tuple[float, float | None]]) -> float:
    return _OVERSHOOT * sum(share * math.sqrt(inner or 0.0) for share, inner in blocks)


@lru_cache(maxsize=16)
def _gauss(count: int) -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(count)


def _bridge_sf(c: float, blocks: list[tuple[float, float | None]]) -> float:
    """Return P(sup |B| >= c) of a Brownian bridge B that is looked at only at the ends of steps.

    A Markov chain from block to block, integrated by Gauss-Legendre. Within a block of many small steps the bridge may
    not cross c either: Siegmund's corrected probability for discrete time.
    """
    narrowest = math.sqrt(min(share for share, _ in blocks))
    nodes, weights = _gauss(16 * min(12, 1 + math.ceil(c / narrowest / 5)))
    x, weights = c * nodes, c * weights
    half = (x[:, None] - x) ** 2 / 2
    above, below = np.outer(c - x, c - x), np.outer(c + x, c + x)
    state: Floats | None = None
    for place, (share, inner) in enumerate(blocks):
        first, last = place == 0, place == len(blocks) - 1
        if first or last:  # from or to the point 0
            gap, up, down = x**2 / 2, (c - x) * c, (c + x) * c
        else:
            gap, up, down = half, above, below
        kernel = np.exp(-gap / share) / math.sqrt(2 * math.pi * share)
        if inner is not None:
            extra = _OVERSHOOT * math.sqrt(inner)
            edge_up, edge_down = (c - x + extra), (c + x + extra)
            if first or last:
                up, down = edge_up * (c + extra), edge_down * (c + extra)
            else:
                up, down = np.outer(edge_up, edge_up), np.outer(edge_down, edge_down)
            kernel = kernel * np.expm1(-2 * up / share) * np.expm1(-2 * down / share)
        if first and last:
            return 0.0 if c > 0 else 1.0
        state = kernel if state is None else (kernel @ (weights * state))
    return max(0.0, 1.0 - float(np.asarray(state)) * math.sqrt(2 * math.pi))


def ks_p_value(distance: float, n: int, m: int, places: Places | None = None) -> float:
    """Return the two-sided p-value of a Kolmogorov-Smirnov distance between samples of n and m rows.

    Without ties exact up to `EXACT_KS_ROWS` rows together; beyond, the one-sample law at the effective size n·m/(n+m).
    With ties exact up to `EXACT_TIED_ROWS`; beyond, the law of a Brownian bridge looked at between the ties.

    Examples
    --------
    >>> round(ks_p_value(0.5, 10, 10), 6)  # scipy.stats.ks_2samp(..., method="exact")
    0.167821
    """
    return _Law(n, m, places).tail(distance)


def ks_threshold(level: float, n: int, m: int) -> float | None:
    """Return the smallest distance that is significant at `level`, None where even 1 is not.

    Examples
    --------
    >>> ks_threshold(0.05, 10, 10), ks_threshold(0.05, 3, 3)
    (0.7, None)
    """
    return _Law(n, m, None).isf(level)


def ks_test(distance: float, n: int, m: int, places: Places | None = None, error: float = 0.0) -> Outcome:
    """Test a Kolmogorov-Smirnov distance.

    Parameters
    ----------
    distance
        Between n and m rows.
    places
        Where it was looked at, when values are tied or only counted on a grid. To take them as continuous would
        overlook drift: the law without ties alarms on two equal categories once in a hundred instead of five times.
    error
        How far the distance may be off (of sketches; 0 from frames). The p-value is that of max(0, D - error): with
        the naive D of two sketches, large stationary samples always alarm.

    Notes
    -----
    D = sup |F - G|; Smirnov 1939, Hodges 1958; for discrete laws see Conover, "A Kolmogorov goodness-of-fit test for
    discontinuous distributions", 1972. Where the exact law is used and both sides have `MID_P_ROWS`, D itself counts
    by half (Lancaster's mid-p, 1961): at a hundred rows a side the level of the strict test is 3.6 % instead of 5 %.
    """
    law = _Law(n, m, places)

    def threshold(level: float) -> float | None:
        bare = law.isf(level)
        return None if bare is None or bare + error > 1 else bare + error

    return Outcome(distance, law.sf(distance - error), threshold)


# --- bins -----------------------------------------------------------------------------------------------------------


def doane_edges(ordered: Floats) -> Floats:
    """Return the edges of bins of equal width over the range of sorted values, as many as Doane's rule says.

    Notes
    -----
    1 + log2 n + log2(1 + abs(g) / s), g the skewness and s its deviation under normality; Doane, "Aesthetic frequency
    classifications", 1976. NannyML bins by it, and numpy computes it.

    Examples
    --------
    >>> doane_edges(np.arange(8.0)).tolist()
    [0.0, 1.75, 3.5, 5.25, 7.0]
    """
    return np.histogram_bin_edges(ordered, bins="doane")


def extremes(x: Floats, y: Floats, most: int = 64) -> tuple[Counts, Counts]:
    """Return how many values of two sorted samples are up to each of the least ones, and down to the greatest ones.

    Examples
    --------
    >>> low, high = extremes(np.array([1.0, 1.0, 3.0]), np.array([1.0, 2.0]))
    >>> low.tolist(), high.tolist()
    ([3, 4, 5], [1, 2, 5])
    """
    least = np.unique(np.concatenate([x[: 4 * most], y[: 4 * most]]))[:most]
    greatest = np.unique(np.concatenate([x[-4 * most :], y[-4 * most :]]))[::-1][:most]
    low = np.searchsorted(x, least, "right") + np.searchsorted(y, least, "right")
    high = len(x) + len(y) - np.searchsorted(x, greatest, "left") - np.searchsorted(y, greatest, "left")
    return low, high


# --- Wasserstein ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mass:
    """Rows of both sides between places on a line, for integrating over it.

    Parameters
    ----------
    reference, current
        Rows that each side has in each cell, shape (k,).
    constant, turning
        Widths of what lies between two cells, shape (k - 1,): where the cumulated distance stays, and where it goes
        over linearly into that of the next cell.
    """

    reference: Counts
    current: Counts
    constant: Floats
    turning: Floats


def mass_of(x: Floats, y: Floats, x_below: int = 0, y_below: int = 0, places: int = _PLACES // 2) -> Mass:
    """Return the mass of two sorted samples, every value a cell of its own when there are at most `places`.

    Missing rows are a cell below all others, one standard deviation of the pooled values away; 1 of a constant.
    """
    pooled = np.sort(np.concatenate([x, y]), kind="stable")  # two runs: merged, not sorted
    points = pooled[np.diff(pooled, prepend=-np.inf) > 0]
    exact = len(points) <= places
    if not exact:
        inner = points[np.linspace(0, len(points) - 1, places - 2 * _EXTREMES).astype(np.int64)]
        points = np.unique(np.concatenate([points[:_EXTREMES], inner, points[-_EXTREMES:]]))
    # Cells alternate: what lies between two points (over which the distance turns), then what is at one.
    sides = ("right",) if exact else ("left", "right")
    cells = []
    for side, below in ((x, x_below), (y, y_below)):
        ends = np.stack([np.searchsorted(side, points, how) for how in sides], axis=1).ravel()  # type: ignore[call-overload]
        cells.append(np.append(below, np.diff(ends, prepend=0)).astype(np.int64))
    widths = np.diff(points, prepend=points[:1])
    constant = widths if exact else np.zeros(2 * len(points))
    turning = np.zeros(len(constant))
    if not exact:
        turning[::2] = widths
    if (x_below or y_below) and len(points):
        constant[0] = float(pooled.std()) or 1.0
    return Mass(cells[0], cells[1], constant, turning)


def wasserstein_distance(mass: Mass) -> float:
    """Return the area between the two distribution functions, in the unit of the values.

    Notes
    -----
    W1 = integral of abs(F - G); Vallender 1974.

    Examples
    --------
    >>> wasserstein_distance(mass_of(np.array([0.0, 1.0]), np.array([1.0, 3.0])))
    1.5
    """
    n, m = mass.reference.sum(), mass.current.sum()
    return float(_area((np.cumsum(mass.reference) / n - np.cumsum(mass.current) / m)[None], mass)[0])


def sample_distance(x: Floats, y: Floats) -> float:
    """Return the area between the distribution functions of two sorted samples, exactly.

    Examples
    --------
    >>> sample_distance(np.array([0.0, 1.0]), np.array([1.0, 3.0]))
    1.5
    """
    n, m = len(x), len(y)
    pooled = np.concatenate([x, y])
    order = np.argsort(pooled, kind="stable")  # two runs: merged, not sorted
    gaps = np.cumsum(np.where(order < n, m, -n))  # in whole numbers, of 1 / (n m)
    return float(np.abs(gaps[:-1]) @ np.diff(pooled[order])) / max(1, n * m)


def _area(gap: Floats, mass: Mass) -> Floats:
    """Return the areas below distances of distribution functions after each cell; shapes (B, k) to (B,)."""
    gap = np.abs(gap)
    area: Floats = gap[:, :-1] @ (mass.constant + mass.turning / 2) + gap[:, 1:] @ (mass.turning / 2)
    return area


def wasserstein_test(
    mass: Mass, scale: float, rng: np.random.Generator, distance: float | None = None, draws: int = DRAWS // 2
) -> Outcome:
    """Test the Wasserstein distance over a scale, by dealing the rows to both sides anew.

    Parameters
    ----------
    mass
        Rows of both sides along the line.
    scale
        The standard deviation of the reference: the statistic is in its units.
    distance
        The exact distance, when the mass is a coarser picture of it.

    Notes
    -----
    W1 / scale with W1 = integral of abs(F - G). Its null depends on the distribution and on the sizes, so it is
    simulated. A cell of c rows gives the reference about Binomial(c, n / N) of them (normal from 30 on), and what the
    cells give too many or too few is taken back in proportion, as in a Brownian bridge.
    """
    n, m = int(mass.reference.sum()), int(mass.current.sum())
    pooled = mass.reference + mass.current
    share = n / (n + m)
    many = pooled >= _NORMAL_ROWS
    deviations = np.zeros((draws, len(pooled)))
    deviations[:, many] = rng.standard_normal((draws, int(many.sum()))) * np.sqrt(pooled[many] * share * (1 - share))
    few = ~many & (pooled > 0)
    deviations[:, few] = rng.binomial(pooled[few], share, (draws, int(few.sum()))) - pooled[few] * share
    walk = np.cumsum(deviations, axis=1)
    walk -= walk[:, -1:] * (np.cumsum(pooled) / (n + m))
    unit = scale if scale > 0 else 1.0
    observed = (wasserstein_distance(mass) if distance is None else distance) / unit
    return simulated_test(observed, _area(walk * (1 / n + 1 / m), mass) / unit, n, m)
