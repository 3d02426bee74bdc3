"""``make bench``: measures the budgets and prints one table. Nothing here is asserted; compare ratios, not seconds."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

_BENCHMARKS = (
    *("load", "lists", "registry", "jobs", "autoscaling", "stall"),
    *("labeling", "outliers", "monitoring", "chaos"),
)


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    for name in names or _BENCHMARKS:
        print(f"\n## {name}", flush=True)
        for what, figure, budget in importlib.import_module(f"benchmarks.{name}").measure():
            print(f"{what:<42} {figure:<64} {budget}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
