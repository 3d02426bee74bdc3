"""Write labels in the formats of other tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from xml.sax.saxutils import quoteattr

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from jupyter_ext.errors import Invalid

Format = Literal["parquet", "jsonl", "csv", "huggingface", "label_studio", "spacy"]

_SUFFIXES: dict[str, Format] = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv", ".json": "label_studio"}


@dataclass(frozen=True)
class Labels:
    """Rows with their labels, and what the columns are.

    ``frame`` has the data's own columns, ``label`` (missing where nothing voted) and ``p_<class>``.
    """

    frame: pd.DataFrame
    key: str
    classes: Sequence[str]
    name: str
    version: int

    @property
    def data_columns(self) -> list[str]:
        """The columns that are no labels."""
        own = {"label", *(f"p_{label}" for label in self.classes)}
        return [str(column) for column in self.frame.columns if column not in own]

    def probabilities(self) -> pd.DataFrame:
        """One column a class, (n, k)."""
        return self.frame[[f"p_{label}" for label in self.classes]].set_axis(list(self.classes), axis=1)


def export_labels(
    labels: Labels,
    path: str,
    format: Format | None = None,  # noqa: A002 - what pandas and others call it
    *,
    text: str | None = None,
) -> str:
    """Write labels to a file, or a folder, that fsspec can write to; return where.

    ``"parquet"``, ``"jsonl"`` and ``"csv"`` hold all columns, ``label`` and ``p_<class>``. ``"huggingface"`` is a
    folder that ``datasets.load_dataset`` reads: a README with the features, and Parquet with ``label`` as a class
    number (-1: none). ``"label_studio"`` is JSON of tasks with the labels as predictions, whose labeling configuration
    is :func:`label_studio_config`. ``"spacy"`` is JSON lines of ``text`` and ``cats``, for the rows that have a label.

    Parameters
    ----------
    format
        Without, the end of ``path`` decides: .parquet, .jsonl, .csv, .json (Label Studio).
    text
        The column of text, for Label Studio and spaCy; without, the only column of text beside the key.

    Raises
    ------
    Invalid
        The format is unknown, or there is no text where it needs one.
    """
    chosen = format or next((name for suffix, name in _SUFFIXES.items() if path.endswith(suffix)), None)
    if chosen is None or chosen not in _WRITERS:
        raise Invalid(f"Say which format: {', '.join(get_args(Format))}; {chosen or path!r} tells none.")
    _WRITERS[chosen](labels, path, text)
    return path


def label_studio_config(classes: Sequence[str], text: str = "text") -> str:
    """Return the labeling configuration that the exported tasks belong to.

    Examples
    --------
    >>> print(label_studio_config(["ham", "spam"]))
    <View>
      <Text name="text" value="$text"/>
      <Choices name="label" toName="text">
        <Choice value="ham"/>
        <Choice value="spam"/>
      </Choices>
    </View>
    """
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in classes)
    shown = quoteattr(f"${text}")
    return (
        f'<View>\n  <Text name="text" value={shown}/>\n'
        f'  <Choices name="label" toName="text">\n{choices}\n  </Choices>\n</View>'
    )


def spacy_spans(path: str, texts: Iterable[str], spans: Iterable[Sequence[tuple[int, int, str]]]) -> str:
    """Write spans as JSON lines of ``text`` and ``spans``, each with ``start``, ``end`` (characters) and ``label``.

    Raises
    ------
    Invalid
        A span lies outside its text, or texts and spans differ in number.
    """

    def lines() -> Iterator[dict[str, Any]]:
        for number, (text, found) in enumerate(_together(texts, spans)):
            for start, end, label in found:
                if not 0 <= start < end <= len(text):
                    raise Invalid(f"Span {start} to {end} ({label}) lies outside text {number} of {len(text)} letters.")
            yield {
                "text": text,
                "spans": [{"start": int(start), "end": int(end), "label": label} for start, end, label in found],
            }

    _write_lines(path, list(lines()))
    return path


def _together(
    texts: Iterable[str], spans: Iterable[Sequence[tuple[int, int, str]]]
) -> list[tuple[str, Sequence[tuple[int, int, str]]]]:
    try:
        return list(zip(texts, spans, strict=True))
    except ValueError:
        raise Invalid("Each text needs its list of spans; there are more of one than of the other.") from None


def _parquet(labels: Labels, path: str, text: str | None) -> None:
    with fsspec.open(path, "wb") as stream:
        pq.write_table(pa.Table.from_pandas(labels.frame, preserve_index=False), stream)


def _csv(labels: Labels, path: str, text: str | None) -> None:
    with fsspec.open(path, "w", encoding="utf-8", newline="") as stream:
        labels.frame.to_csv(stream, index=False)


def _jsonl(labels: Labels, path: str, text: str | None) -> None:
    _write_lines(path, _plain(labels.frame))


def _huggingface(labels: Labels, path: str, text: str | None) -> None:
    number = {label: place for place, label in enumerate(labels.classes)}
    frame = labels.frame.assign(label=[number.get(label, -1) for label in labels.frame["label"]])
    table = pa.Table.from_pandas(frame, preserve_index=False)
    names = "\n".join(f"          '{place}': {json.dumps(label)}" for place, label in enumerate(labels.classes))
    features = "\n".join(
        f"  - name: {json.dumps(field.name)}\n    dtype:\n      class_label:\n        names:\n{names}"
        if field.name == "label"
        else f"  - name: {json.dumps(field.name)}\n    dtype: {_hf_type(field)}"
        for field in table.schema
    )
    readme = (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
        f"dataset_info:\n  features:\n{features}\n  splits:\n  - name: train\n"
        f"    num_bytes: {table.nbytes}\n    num_examples: {len(frame)}\n---\n\n"
        f"# {labels.name}\n\nVersion {labels.version} of a label set. "
        "`label` is -1 where nothing voted; `p_<class>` are its probabilities.\n"
    )
    folder, files = path.rstrip("/"), fsspec.core.url_to_fs(path)[0]
    files.makedirs(files._strip_protocol(f"{folder}/data"), exist_ok=True)
    with fsspec.open(f"{folder}/data/train-00000-of-00001.parquet", "wb") as stream:
        pq.write_table(table, stream)
    with fsspec.open(f"{folder}/README.md", "w", encoding="utf-8") as stream:
        stream.write(readme)


def _hf_type(field: pa.Field) -> str:
    kinds: list[tuple[Callable[[pa.DataType], bool], str]] = [
        (pa.types.is_string, "string"),
        (pa.types.is_large_string, "large_string"),
        (pa.types.is_boolean, "bool"),
        (pa.types.is_float64, "float64"),
        (pa.types.is_float32, "float32"),
        (pa.types.is_integer, str(field.type)),
        (pa.types.is_null, "'null'"),
        (pa.types.is_timestamp, str(field.type)),
    ]
    for is_kind, name in kinds:
        if is_kind(field.type):
            return name
    raise Invalid(f"Column {field.name!r} holds {field.type}, which this export does not know; leave it out.")


def _label_studio(labels: Labels, path: str, text: str | None) -> None:
    column = _text_column(labels, text)
    proba = labels.probabilities().to_numpy()
    tasks = []
    for number, record in enumerate(_plain(labels.frame[labels.data_columns])):
        task: dict[str, Any] = {"data": {**record, "text": record[column]}}
        label = labels.frame["label"].iloc[number]
        if isinstance(label, str):
            choice = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
            score = float(proba[number, list(labels.classes).index(label)])
            version = f"{labels.name} {labels.version}"
            task["predictions"] = [{"model_version": version, "score": score, "result": [choice]}]
        tasks.append(task)
    with fsspec.open(path, "w", encoding="utf-8") as stream:
        json.dump(tasks, stream, ensure_ascii=False, indent=1)


def _spacy(labels: Labels, path: str, text: str | None) -> None:
    column = _text_column(labels, text)
    labeled = labels.frame["label"].notna().to_numpy()
    cats = labels.probabilities()[labeled].to_dict("records")
    texts, keys = labels.frame.loc[labeled, column].tolist(), labels.frame.loc[labeled, labels.key].astype(str).tolist()
    lines = [
        {"text": words, "cats": {name: round(share, 6) for name, share in shares.items()}, "meta": {"key": key}}
        for words, shares, key in zip(texts, cats, keys, strict=True)
    ]
    _write_lines(path, lines)


def _text_column(labels: Labels, text: str | None) -> str:
    columns = labels.data_columns
    if text is not None:
        if text not in columns:
            raise Invalid(f"There is no column {text!r}; there are {', '.join(columns)}.")
        return text
    candidates = [
        column
        for column in columns
        if column != labels.key and (values := labels.frame[column].dropna()).size and isinstance(values.iloc[0], str)
    ]
    if len(candidates) != 1:
        raise Invalid(f"Say which column is the text: text=…; columns of text are {', '.join(candidates) or 'none'}.")
    return candidates[0]


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return records that JSON can carry: missing and infinite values as None, times as ISO 8601."""
    records: list[dict[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    return [{str(name): _json_value(value) for name, value in record.items()} for record in records]


def _json_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_json_value(item) for item in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (str, int, bool, dict)) else str(value)


def _write_lines(path: str, lines: list[dict[str, Any]]) -> None:
    with fsspec.open(path, "w", encoding="utf-8") as stream:
        for line in lines:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


_WRITERS: dict[str, Callable[[Labels, str, str | None], None]] = {
    "parquet": _parquet,
    "jsonl": _jsonl,
    "csv": _csv,
    "huggingface": _huggingface,
    "label_studio": _label_studio,
    "spacy": _spacy,
}
