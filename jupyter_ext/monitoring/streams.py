"""Changes in a stream of numbers, looked at one by one: ADWIN, Page-Hinkley, KSWIN, and a detector by betting.

Each is a small state machine, and starts over after an alarm.
"""

from __future__ import annotations

import inspect
import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import deque
from typing import Any, Literal, Protocol, get_args

import numpy as np
from scipy import special

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.randomness import generator
from jupyter_ext.monitoring.ranks import ks_distance, ks_threshold
from jupyter_ext.monitoring.samples import LARGEST

StreamKind = Literal["adwin", "page_hinkley", "kswin", "e_detector"]


class StreamDetector:
    """Says when a stream of numbers has changed.

    Parameters
    ----------
    kind
        ``"adwin"``: the mean changed; keeps a window that shrinks at a change. ``"page_hinkley"``: the mean changed;
        needs the scale of the numbers to be known. ``"kswin"``: the distribution of the last numbers is another.
        ``"e_detector"``: the distribution changed, with a chance of ever alarming on a stationary stream of at most
        `alpha`, however long and however often one looks.
    settings
        Of the kind; the defaults are those of the papers, or of the `river` package where a paper has none.

        - adwin: ``delta=0.002`` (level of each look), ``clock=32`` (looks every so many numbers), ``buckets=5``
          (of each size), ``min_window=5``, ``grace=10``
        - page_hinkley: ``threshold=50.0``, ``delta=0.005`` (changes to overlook), ``forgetting=0.9999``, ``grace=30``,
          ``mode="both"`` (or ``"up"``, ``"down"``)
        - kswin: ``alpha=0.005`` (level of each look), ``window=100``, ``recent=30``
        - e_detector: ``alpha=0.05``, ``guarantee="ever"`` (or ``"run_length"``), ``of="values"`` (or ``"p_values"``),
          ``random_state=0``

    Raises
    ------
    Invalid
        An unknown kind or setting, or one that makes no sense.

    Notes
    -----
    What each promises on a stream that does not change, and their formulas, is said in the classes of this module.

    Examples
    --------
    >>> detector = StreamDetector("adwin")
    >>> stream = [0.0, 1.0] * 500 + [4.0, 5.0] * 500
    >>> [i for i, x in enumerate(stream) if detector.update(x)]
    [1023]
    >>> detector.estimation
    4.5
    """

    def __init__(self, kind: StreamKind = "adwin", **settings: Any) -> None:
        if not isinstance(kind, str) or kind not in _KINDS:
            raise Invalid(f"kind must be one of {', '.join(_KINDS)}, not {kind!r}.")
        known = inspect.signature(_KINDS[kind]).parameters
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise Invalid(f"{kind} has no setting {', '.join(unknown)}. It has {', '.join(known)}.")
        self.kind: StreamKind = kind
        #: How many numbers were given.
        self.n = 0
        #: Positions of the alarms, from 0.
        self.alarms: list[int] = []
        self._machine: _Machine = _KINDS[kind](**settings)

    def update(self, x: float) -> bool:
        """Take the next number and say whether the stream has changed.

        Raises
        ------
        Invalid
            It is missing, infinite or no number, or (``of="p_values"``) not in [0, 1]. The state stays as it was.
        """
        try:
            x = float(x)
        except (TypeError, ValueError):
            raise Invalid("A stream takes numbers.") from None
        if not math.isfinite(x):
            raise Invalid(
                "A stream takes finite numbers; this one is missing or infinite. "
                "Leave it out, or watch the share of missing values as a stream of its own."
            )
        if abs(x) > LARGEST:
            raise Invalid(f"A stream takes numbers up to ±{LARGEST:.0e}; this one is probably a mark of a missing one.")
        changed = self._machine.update(x)
        if changed:
            self.alarms.append(self.n)
        self.n += 1
        return changed

    @property
    def estimation(self) -> float:
        """The mean of what the detector holds for the present regime; NaN before the first number."""
        return self._machine.estimation

    def __repr__(self) -> str:
        return f"StreamDetector({self.kind!r}, n={self.n}, alarms={self.alarms})"


class _Machine(Protocol):
    def update(self, x: float) -> bool: ...
    @property
    def estimation(self) -> float: ...


class Adwin:
    """Adaptive windowing.

    The window is cut wherever the means of its two parts differ by more than
    ε = √(2/m · σ² · ln(2/δ')) + 2/(3m) · ln(2/δ'), with 1/m = 1/n₀ + 1/n₁ and δ' = δ / ln n, and the older part is
    dropped. Buckets of sizes 1, 2, 4, … hold it: O(log n) memory, and O(log n) time a look.

    Source: Bifet, Gavaldà, "Learning from time-changing data with adaptive windowing", 2007, sections 3.2 and 4. The
    bound is proven for values in [0, 1]; elsewhere it is the normal approximation. `delta` is the level of a look,
    not of all looks together. Alarms are where the `river` package has them: n₀ and n₁ count the numbers beyond
    `min_window` - 1, and with the first number after an alarm the window starts over. (In the paper it goes on with its
    newer part, and one change alarms many times.)
    """

    def __init__(
        self, delta: float = 0.002, clock: int = 32, buckets: int = 5, min_window: int = 5, grace: int = 10
    ) -> None:
        _between("delta", delta, 0, 1)
        _at_least("clock", clock, 1)
        _at_least("buckets", buckets, 2)
        _at_least("min_window", min_window, 1)
        _at_least("grace", grace, 1)
        self._delta, self._clock, self._buckets, self._least, self._grace = delta, clock, buckets, min_window, grace
        self._start()

    def _start(self) -> None:
        # Row r holds buckets of 2**r numbers, oldest first: (sum, squared deviations from the bucket's mean).
        self._rows: list[deque[tuple[float, float]]] = [deque()]
        self._n, self._sum, self._m2, self._ticks, self._alarmed = 0, 0.0, 0.0, 0, False

    @property
    def estimation(self) -> float:
        """The mean of the numbers held."""
        return self._sum / self._n if self._n else math.nan

    def update(self, x: float) -> bool:
        """Take the next number and say whether there is an alarm."""
        if self._alarmed:
            self._start()
        if self._n:
            self._m2 += self._n / (self._n + 1) * (x - self._sum / self._n) ** 2
        self._n += 1
        self._sum += x
        self._rows[0].append((x, 0.0))
        self._compress()
        self._ticks += 1
        if self._ticks % self._clock or self._n <= self._grace:
            return False
        while self._has_cut():
            self._drop_oldest()
            self._alarmed = True
        return self._alarmed

    def _compress(self) -> None:
        for level, row in enumerate(self._rows):
            if len(row) <= self._buckets:
                return
            (a, m2_a), (b, m2_b) = row.popleft(), row.popleft()
            # Of two groups of n numbers each: n·n/(n + n) · (a/n - b/n)².
            merged = a + b, m2_a + m2_b + (a - b) ** 2 / (2 << level)
            if level + 1 == len(self._rows):
                self._rows.append(deque())
            self._rows[level + 1].append(merged)

    def _has_cut(self) -> bool:
        n, total, least = self._n, self._sum, self._least
        if n < 2 * least:
            return False
        log = math.log(2 * math.log(n) / self._delta)
        variance = self._m2 / n
        n_old, sum_old = 0, 0.0
        for level in range(len(self._rows) - 1, -1, -1):
            size = 1 << level
            for value, _ in self._rows[level]:
                n_old += size
                sum_old += value
                n_new = n - n_old
                if n_new < least:
                    return False
                if n_old < least:
                    continue
                inverse = 1 / (n_old - least + 1) + 1 / (n_new - least + 1)
                gap = abs(sum_old / n_old - (total - sum_old) / n_new)
                if gap > math.sqrt(2 * inverse * variance * log) + 2 / 3 * inverse * log:
                    return True
        return False

    def _drop_oldest(self) -> None:
        size = 1 << (len(self._rows) - 1)
        value, m2 = self._rows[-1].popleft()
        if not self._rows[-1]:
            self._rows.pop()
        rest = self._n - size
        gap = value / size - (self._sum - value) / rest
        self._m2 = max(0.0, self._m2 - m2 - size * rest / (size + rest) * gap**2)
        self._n, self._sum = rest, self._sum - value


class PageHinkley:
    """The cumulated deviation from the running mean, against its extreme so far.

    m_t = a·m_{t-1} + (x_t - x̄_t - δ); an increase is an alarm at m_t - min m > threshold, a decrease likewise.

    Source: Page, "Continuous inspection schemes", 1954; Hinkley, "Inference about the change-point from cumulative sum
    tests", 1971. `threshold` and `delta` are in the units of the numbers, and so is the rate of false alarms.
    """

    def __init__(
        self,
        threshold: float = 50.0,
        delta: float = 0.005,
        forgetting: float = 0.9999,
        grace: int = 30,
        mode: Literal["both", "up", "down"] = "both",
    ) -> None:
        _between("threshold", threshold, 0, math.inf)
        _between("forgetting", forgetting, 0, 1, last=True)
        _at_least("grace", grace, 1)
        if not isinstance(delta, int | float) or not 0 <= delta < math.inf:
            raise Invalid("delta must be a number of at least 0.")
        if mode not in ("both", "up", "down"):
            raise Invalid(f"mode must be 'both', 'up' or 'down', not {mode!r}.")
        self._threshold, self._delta, self._forgetting = threshold, delta, forgetting
        self._grace, self._mode = grace, mode
        self._start()

    def _start(self) -> None:
        self._n, self._mean = 0, 0.0
        self._up = self._least = self._down = self._most = 0.0

    @property
    def estimation(self) -> float:
        """The mean of the numbers held."""
        return self._mean if self._n else math.nan

    def update(self, x: float) -> bool:
        """Take the next number and say whether there is an alarm."""
        self._n += 1
        self._mean += (x - self._mean) / self._n
        self._up = self._forgetting * self._up + x - self._mean - self._delta
        self._down = self._forgetting * self._down + x - self._mean + self._delta
        self._least, self._most = min(self._least, self._up), max(self._most, self._down)
        if self._n < self._grace:
            return False
        up = self._mode != "down" and self._up - self._least > self._threshold
        down = self._mode != "up" and self._most - self._down > self._threshold
        if up or down:
            self._start()
        return up or down


class Kswin:
    """The last `recent` numbers against the others of the window, by the Kolmogorov-Smirnov test.

    Source: Raab, Heusinger, Schleif, "Reactive soft prototype computing for concept drift streams", 2020. There, and in
    the packages, the older part is sampled at random; here all of it is used, which needs no randomness and finds more.
    `alpha` is the level of a look, and every number is a look: expect false alarms, as docs/outliers.md counts them.
    """

    def __init__(self, alpha: float = 0.005, window: int = 100, recent: int = 30) -> None:
        _between("alpha", alpha, 0, 1)
        _at_least("recent", recent, 2)
        _at_least("window", window, 2 * recent)
        threshold = ks_threshold(alpha, window - recent, recent)
        if threshold is None:
            raise Invalid(f"No difference between {window - recent} and {recent} numbers is significant at this alpha.")
        self._threshold, self._size, self._recent = threshold, window, recent
        self._window: deque[float] = deque(maxlen=window)

    @property
    def estimation(self) -> float:
        """The mean of the numbers held."""
        held = list(self._window)[-self._recent :]
        return sum(held) / len(held) if held else math.nan

    def update(self, x: float) -> bool:
        """Take the next number and say whether there is an alarm."""
        self._window.append(x)
        if len(self._window) < self._size:
            return False
        values = np.array(self._window)
        older, recent = np.sort(values[: -self._recent]), np.sort(values[-self._recent :])
        # Distances lie on a lattice; half a step keeps the rounding of doubles from deciding.
        half_step = 0.5 / (len(older) * len(recent))
        if ks_distance(older, recent) < self._threshold - half_step:
            return False
        for _ in range(self._size - self._recent):
            self._window.popleft()
        return True


class EDetector:
    """Betting against the stream being stationary.

    Each number becomes a conformal p-value: its rank among all numbers since the start, ties broken at random. If the
    numbers are exchangeable, these p-values are independent and uniform, whatever the distribution. Bettors with
    densities f_j on [0, 1] then multiply their capital by f_j(p) and cannot win: of a bettor who begins at moment k
    with w_k, the capital at t is w_k · Π_{k ≤ s ≤ t} f_j(p_s), a martingale. All of them together hold
    R_j = (R_j + w_t) · f_j(p_t), and there is an alarm at Σ_j R_j ≥ 1/alpha.

    - ``guarantee="ever"``: Σ w_k = 1, so by Ville's inequality the chance of *ever* alarming on a stationary stream is
      at most alpha. One pays for it with a delay that grows with the logarithm of the time of the change.
    - ``guarantee="run_length"``: w_k = 1, an e-detector of the kind of Shiryaev and Roberts: the *mean time* to a
      false alarm is at least 1/alpha numbers. There will be false alarms in the long run.

    With ``of="p_values"`` the numbers are p-values already. They must be independent of each other and uniform (or
    larger), and only small ones count. Daily p-values against one reference share that reference and are *not*
    independent: give the daily statistic itself with ``of="values"``. Given the reference, statistics of equal numbers
    of rows are exchangeable.

    Source: Ville, 1939; Vovk, Gammerman, Shafer, "Algorithmic learning in a random world", 2005, section 7.1 (conformal
    martingales); Vovk, Wang, "E-values: calibration, combination and applications", 2021 (κp^{κ-1});
    Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", 2024.
    """

    #: Exponents κ of the bets κ·p^(κ-1): a small one waits for few very extreme numbers, a large one for many.
    _KAPPAS = (0.3, 0.7)
    #: w_k = k^-1.1 / ζ(1.1), of heavy tails: the delay grows by 1.1 · ln k over what one bettor alone would need.
    _DECAY = 1.1

    def __init__(
        self,
        alpha: float = 0.05,
        guarantee: Literal["ever", "run_length"] = "ever",
        of: Literal["values", "p_values"] = "values",
        random_state: int | np.random.Generator = 0,
    ) -> None:
        _between("alpha", alpha, 0, 1)
        if guarantee not in ("ever", "run_length"):
            raise Invalid(f"guarantee must be 'ever' or 'run_length', not {guarantee!r}.")
        if of not in ("values", "p_values"):
            raise Invalid(f"of must be 'values' or 'p_values', not {of!r}.")
        self._limit, self._spends, self._ranks = 1 / alpha, guarantee == "ever", of == "values"
        self._rng = generator(random_state)
        self._n_bettors = 2 * len(self._KAPPAS) + 2 if self._ranks else len(self._KAPPAS)
        self._unit = 1 / float(special.zeta(self._DECAY)) / self._n_bettors
        self._start()

    def _start(self) -> None:
        self._held, self._sum = array("d"), 0.0
        self._n = 0
        self._capital = [0.0] * self._n_bettors

    @property
    def estimation(self) -> float:
        """The mean of the numbers held."""
        return self._sum / self._n if self._n else math.nan

    @property
    def evidence(self) -> float:
        """The capital of all bettors; the alarm is at 1/alpha."""
        return sum(self._capital)

    def update(self, x: float) -> bool:
        """Take the next number and say whether there is an alarm."""
        if not self._ranks and not 0 <= x <= 1:
            raise Invalid("A stream of p-values takes numbers between 0 and 1.")
        self._n += 1
        self._sum += x
        p = min(max(self._rank(x) if self._ranks else x, 1e-12), 1 - 1e-12)
        bets = [kappa * p ** (kappa - 1) for kappa in self._KAPPAS]
        if self._ranks:
            small = [kappa * (1 - p) ** (kappa - 1) for kappa in self._KAPPAS]
            # Larger, smaller, more spread out, more concentrated.
            bets = [*bets, *small, (bets[0] + small[0]) / 2, 6 * p * (1 - p)]
        stake = self._unit * self._n**-self._DECAY if self._spends else 1 / self._n_bettors
        self._capital = [(held + stake) * bet for held, bet in zip(self._capital, bets, strict=True)]
        if sum(self._capital) < self._limit:
            return False
        self._start()
        return True

    def _rank(self, x: float) -> float:
        held = self._held
        first, after = bisect_left(held, x), bisect_right(held, x)
        larger, equal = len(held) - after, after - first
        insort(held, x)
        return (larger + float(self._rng.random()) * (equal + 1)) / (len(held))


_KINDS: dict[StreamKind, Any] = {
    "adwin": Adwin,
    "page_hinkley": PageHinkley,
    "kswin": Kswin,
    "e_detector": EDetector,
}
assert tuple(_KINDS) == get_args(StreamKind)


def _between(name: str, value: float, low: float, high: float, *, last: bool = False) -> None:
    is_number = isinstance(value, int | float | np.integer | np.floating)
    if not is_number or not (low < value < high or (last and value == high)):
        raise Invalid(f"{name} must be a number above {low} and {'at most' if last else 'below'} {high}.")


def _at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise Invalid(f"{name} must be a whole number of at least {least}.")
