"""The methods of drift by name: what each suits, and where its formula, source and null are told.

- ``ks``, ``wasserstein``: numbers and datetimes, by order (`ranks`). From 5 rows a side.
- ``chi2``, ``g_test``, ``psi``, ``jensen_shannon``, ``hellinger``, ``tvd``: all but text and embeddings, by counts in
  cells (`cells`): categories, or ten equal parts of both sides' numbers; Jensen-Shannon between two frames bins
  numbers as NannyML does. From 5 rows a side.
- ``mmd``, ``lsdd``: every kind, and all columns together, by rows (`multivariate`). From 2 rows a side.
- ``c2st``: the same, by a classifier. From 20 rows a side.
- ``pca_reconstruction``: all columns together. From 20 reference rows.

The default threshold is what the statistic reaches with the probability of the corrected level when nothing moved, so
it depends on both sizes; in `drift_over_time` that of ``pca_reconstruction`` is the mean ± 3 standard deviations of the
reference's own chunks.

Formulas, sources and nulls: `cells` (counts), `ranks` (order), `multivariate` (rows).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from jupyter_ext.errors import Invalid

Method = Literal[
    "psi",
    "ks",
    "wasserstein",
    "jensen_shannon",
    "chi2",
    "g_test",
    "hellinger",
    "tvd",
    "mmd",
    "lsdd",
    "c2st",
    "pca_reconstruction",
]
Methods = Method | Sequence[Method] | Mapping[str, Method]

METHODS: tuple[Method, ...] = get_args(Method)
#: The row of a report that compares whole rows instead of one feature, and its key in a mapping of methods.
ALL_COLUMNS = "(all columns)"
#: Methods that compare order, counts in cells, and rows.
OF_RANKS: tuple[Method, ...] = ("ks", "wasserstein")
OF_CELLS: tuple[Method, ...] = ("chi2", "psi", "jensen_shannon", "g_test", "hellinger", "tvd")
OF_ROWS: tuple[Method, ...] = ("mmd", "lsdd", "c2st")
JOINT: tuple[Method, ...] = (*OF_ROWS, "pca_reconstruction")

#: By kind, the methods that suit it, its default first.
SUITABLE: dict[str, tuple[Method, ...]] = {
    "numeric": (*OF_RANKS, *OF_CELLS, *OF_ROWS),
    "datetime": (*OF_RANKS, *OF_CELLS, *OF_ROWS),
    "categorical": (*OF_CELLS, *OF_ROWS),
    "boolean": (*OF_CELLS, *OF_ROWS),
    "text": ("c2st", "mmd", "lsdd"),
    "embedding": ("mmd", "lsdd", "c2st"),
}


class Choice:
    """Which method each feature is tested by.

    Parameters
    ----------
    methods
        A name, names of which the first that suits is taken, a mapping from features or kinds, or None.
    features
        The features that can be tested.

    Raises
    ------
    Invalid
        There is no such method, feature or kind.

    Examples
    --------
    >>> choice = Choice({"numeric": "psi", "size": "wasserstein"}, ["size", "age"])
    >>> choice.of("size", "numeric"), choice.of("age", "numeric"), choice.joint
    ('wasserstein', 'psi', None)
    """

    def __init__(self, methods: Methods | None, features: Sequence[str]) -> None:
        self._by_name: Mapping[str, Method] = {}
        self._in_order: tuple[Method, ...] = ()
        if isinstance(methods, str):
            self._in_order = (methods,)
        elif isinstance(methods, Mapping):  # columns go by their names as text
            self._by_name = {str(key): method for key, method in methods.items()}
        elif isinstance(methods, Iterable):
            self._in_order = tuple(methods)
        elif methods is not None:
            raise Invalid("methods must be a name, names, or a mapping from features or kinds to names.")
        for method in (*self._by_name.values(), *self._in_order):
            if method not in METHODS:
                raise Invalid(
                    f"There is no method {method!r}; choose among {', '.join(METHODS)}.", methods=list(METHODS)
                )
        known = {*features, *SUITABLE, ALL_COLUMNS}
        unknown = sorted(key for key in self._by_name if key not in known)
        if unknown:
            raise Invalid(f"methods names neither features in common nor kinds: {', '.join(unknown)}.", unknown=unknown)

    @property
    def joint(self) -> Method | None:
        """The method for all columns together, if one was asked for."""
        if ALL_COLUMNS in self._by_name:
            method = self._by_name[ALL_COLUMNS]
            if method not in JOINT:
                raise Invalid(f"{method} cannot compare all columns together. Choose {' or '.join(JOINT)}.")
            return method
        return "pca_reconstruction" if "pca_reconstruction" in self._in_order else None

    @property
    def only_joint(self) -> bool:
        """Whether nothing but the comparison of all columns was asked for."""
        return bool(self._in_order) and set(self._in_order) == {"pca_reconstruction"}

    def of(self, feature: str, kind: str) -> Method:
        """Return the method of a feature of this kind."""
        suitable = SUITABLE[kind]
        if not self._by_name:
            return next((method for method in self._in_order if method in suitable), suitable[0])
        method = self._by_name.get(feature) or self._by_name.get(kind) or suitable[0]
        if method not in suitable:
            raise Invalid(f"Feature '{feature}' is {kind}: {method} cannot test it. Choose {' or '.join(suitable)}.")
        return method
