"""The registry: models, their versions, aliases and lineage, on top of MLflow."""
