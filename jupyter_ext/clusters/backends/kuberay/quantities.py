"""Kubernetes' quantities of CPU and memory as numbers."""

from __future__ import annotations

import re

from jupyter_ext.errors import Invalid

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|m|k|M|G|T|P|E|[eE][+-]?[0-9]+)?")
_UNITS = {
    **{unit: 1024.0**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{unit: 1000.0**power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    "m": 0.001,
}


def number(quantity: str | float) -> float:
    """Return a quantity as a number: cores, bytes.

    Raises
    ------
    jupyter_ext.errors.Invalid
        It is none.

    Examples
    --------
    >>> number("16Gi"), number("500m"), number(2), number("1.5e3")
    (17179869184.0, 0.5, 2.0, 1500.0)
    """
    found = _QUANTITY.fullmatch(str(quantity))
    if found is None:
        raise Invalid(f"{str(quantity)[:40]!r} is no quantity: write a number with a unit, such as 16Gi or 500m.")
    amount, unit = found[1], found[2] or ""
    if unit and unit not in _UNITS:
        # An exponent. A lone E is a unit, 10**18.
        return float(amount + unit)
    return float(amount) * _UNITS.get(unit, 1.0)
