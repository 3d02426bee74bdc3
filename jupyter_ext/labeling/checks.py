"""What the server checks in uploaded votes and label sets before anything is written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jupyter_ext.errors import Invalid

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def require_labels(labels: Sequence[str], classes: Sequence[str], task: str) -> None:
    """Raise `Invalid` for a label that is none of the task's classes."""
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        shown = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
        raise Invalid(
            f"{unknown[0]!r} is no class of task {task!r}. The classes are: {shown}.",
            label=unknown[0],
            classes=list(classes[:500]),
        )


def function_votes(file: pq.ParquetFile, *, n_classes: int, n_rows: int, n_votes: int) -> pa.Array:
    """Check a function's votes, and return their keys.

    The columns are ``key`` (text) and ``vote`` (a class number); a row on which it abstains is left out.

    Raises
    ------
    Invalid
        Other columns or types, more votes than rows, a key twice, a null, or a vote outside the classes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    _require_layout(file, ["key", "vote"], "Votes of a function")
    count = int(file.metadata.num_rows)
    if count != n_votes or count > n_rows:
        raise Invalid(f"The blob holds {count} votes, the request says {n_votes}, and the data set has {n_rows} rows.")
    table = file.read()
    votes = table.column("vote")
    if not pa.types.is_integer(votes.type):
        raise Invalid(f"Votes must be whole numbers (the class number), not {votes.type}.")
    if votes.null_count:
        raise Invalid(f"{votes.null_count} votes are null; leave out the rows where the function abstains.")
    if count:
        span = pc.min_max(votes).as_py()
        if span["min"] < 0 or span["max"] >= n_classes:
            raise Invalid(
                f"Votes must be class numbers from 0 to {n_classes - 1}, with abstentions left out; "
                f"the blob holds {span['min']} to {span['max']}."
            )
    return _distinct_keys(table)


def label_set_columns(file: pq.ParquetFile, *, classes: Sequence[str], n_rows: int, task: str) -> tuple[pa.Array, int]:
    """Check a label set, and return its keys and how many of its rows have a label.

    The columns are ``key`` (text), ``label`` (a class, or null) and a probability a class, ``p_<class number>``.

    Raises
    ------
    Invalid
        Other columns or types, other rows than the data set's, a label outside the classes, or no probabilities.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    probabilities = [f"p_{number}" for number in range(len(classes))]
    _require_layout(file, ["key", "label", *probabilities], "A label set")
    if file.metadata.num_rows != n_rows:
        raise Invalid(f"The label set has {file.metadata.num_rows} rows and its data set {n_rows}.")
    table = file.read()
    labels = table.column("label")
    if not pa.types.is_null(labels.type):
        _require_text(labels, "label")
        require_labels(pc.unique(labels.drop_null()).to_pylist(), classes, task)
    total: Any = None
    for name in probabilities:
        column = table.column(name)
        if not pa.types.is_floating(column.type) or column.null_count:
            raise Invalid(f"Column {name!r} must hold a probability in every row.")
        span = pc.min_max(column).as_py()
        if pc.any(pc.invert(pc.is_finite(column))).as_py() or span["min"] < 0 or span["max"] > 1 + 1e-6:
            raise Invalid(f"Column {name!r} must hold probabilities from 0 to 1.")
        total = column if total is None else pc.add(total, column)
    if pc.max(pc.abs(pc.subtract(total, 1.0))).as_py() > 1e-3:
        raise Invalid("The probabilities of a row must add up to 1.")
    return _distinct_keys(table), len(labels) - labels.null_count


def _require_layout(file: pq.ParquetFile, names: list[str], what: str) -> None:
    found = file.schema_arrow.names
    if sorted(found) != sorted(names):
        expected = ", ".join(names[:3]) + (f", … {names[-1]}" if len(names) > 3 else "")
        raise Invalid(f"{what} must have the columns {expected}; the blob has {', '.join(found[:20]) or 'none'}.")


def _require_text(column: Any, name: str) -> None:
    import pyarrow as pa

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise Invalid(f"Column {name!r} must be text, not {column.type}.")


def _distinct_keys(table: pa.Table) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column("key")
    _require_text(column, "key")
    if column.null_count:
        raise Invalid(f"{column.null_count} rows have no key.")
    keys = pc.cast(column, pa.large_string()).combine_chunks()
    repeated = len(keys) - pc.count_distinct(keys).as_py()
    if repeated:
        raise Invalid(f"{repeated} rows repeat the key of another row.")
    return keys
