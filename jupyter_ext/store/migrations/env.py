"""Alembic's environment: runs the migrations on the connection that `jupyter_ext.store.migrate` opened."""

from __future__ import annotations

from alembic import context

from jupyter_ext.store.schema import metadata

connection = context.config.attributes["connection"]
# SQLite cannot alter most things in place: batch mode copies the table.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
context.run_migrations()
