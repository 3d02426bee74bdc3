"""Measurements of the budgets in docs/architecture.md, as ratios to a peer in the same run."""
