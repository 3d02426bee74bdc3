"""Ray clusters: one of their own for every user."""
