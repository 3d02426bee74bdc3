"""What callers give as `random_state`, as a generator."""

from __future__ import annotations

import numpy as np

from jupyter_ext.errors import Invalid


def generator(random_state: int | np.random.Generator | None) -> np.random.Generator:
    """Return a generator from a seed, or the generator itself.

    Raises
    ------
    Invalid
        It is neither.

    Examples
    --------
    >>> int(generator(7).integers(100)) == int(generator(7).integers(100))
    True
    """
    if not isinstance(random_state, np.random.RandomState):  # its streams cannot be split
        try:
            return np.random.default_rng(random_state)
        except (TypeError, ValueError):
            pass
    raise Invalid("random_state must be a seed (a whole number of at least 0) or a numpy Generator.")
