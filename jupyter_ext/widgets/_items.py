"""One row of a data frame as an item to show: its fields, its text or its image, bounded in size."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jupyter_ext.errors import Invalid

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["row", "text", "image"]

MAX_TEXT = 12_000
MAX_VALUE = 1_000
MAX_FIELDS_TEXT = 12_000
MAX_IMAGE_BYTES = 10_000_000
#: A column of texts this long on average is for reading, not for a table.
READING_LENGTH = 60

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".webp"}


def media_type(data: bytes) -> str | None:
    """Return the media type of an image by its first bytes, None if it isn't one that browsers draw.

    Examples
    --------
    >>> media_type(bytes.fromhex("ffd8ffe0"))
    'image/jpeg'
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for head, kind in _SIGNATURES.items() if data.startswith(head)), None)


def is_missing(value: Any) -> bool:
    """Tell whether a cell holds nothing: None, NaN, NaT or pandas' NA.

    Examples
    --------
    >>> is_missing(float("nan")), is_missing(0), is_missing([])
    (True, False, False)
    """
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float) and math.isnan(value)


def as_text(value: Any) -> str | None:
    """Return a cell as a person reads it: numbers to six significant digits, None for a missing one.

    Examples
    --------
    >>> as_text(0.1 + 0.2), as_text(True), as_text(None)
    ('0.3', 'True', None)
    """
    if is_missing(value):
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value):,} bytes"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text) - MAX_VALUE:,} more characters)"


def _looks_like_image(value: Any) -> bool:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return True
    return isinstance(value, (str, Path)) and Path(str(value)[-300:]).suffix.lower() in _IMAGE_SUFFIXES


class Items:
    """The rows of a data frame, ready to be shown one at a time.

    Parameters
    ----------
    frame
        The rows; a `pandas.Series` is a frame of one column.
    key
        The column whose values name the rows; the index if None.
    columns
        The columns to show; all but the key if None.
    kind
        ``"row"`` shows the columns as a table. ``"text"`` and ``"image"`` show one column large, the first of
        ``columns`` that fits, and the others as a table. ``"auto"`` looks at the first values.

    Raises
    ------
    Invalid
        On an unknown column, on a frame without rows, on a kind that no column fits.

    Examples
    --------
    >>> import pandas as pd
    >>> items = Items(pd.DataFrame({"size": [0.25, None]}, index=["a", "b"]))
    >>> items.kind, items.keys, items.show("b")
    ('row', ['a', 'b'], {'fields': [['size', None]]})
    """

    def __init__(
        self,
        frame: pd.DataFrame | pd.Series,
        *,
        key: Hashable | None = None,
        columns: Sequence[Hashable] | None = None,
        kind: Kind | Literal["auto"] = "auto",
    ) -> None:
        import pandas as pd

        if isinstance(frame, pd.Series):
            frame = frame.to_frame(frame.name if frame.name is not None else "value")
        if not isinstance(frame, pd.DataFrame):
            raise Invalid(f"The items are given as a pandas DataFrame or Series, not as {type(frame).__name__}.")
        if not len(frame):
            raise Invalid("The frame has no rows: there is nothing to label.")
        if isinstance(columns, str):
            columns = [columns]
        if not frame.columns.is_unique:
            raise Invalid("Some columns have the same name; rename them first.")
        _require_columns(frame, [key] if key is not None else [], "key")
        _require_columns(frame, columns or [], "columns")
        index = frame.index if key is None else frame[key]
        if index.isna().any():
            raise Invalid("Some keys are missing: every item needs one.")
        #: Plain Python values: numpy's scalars print and serialise differently.
        self.keys: list[Hashable] = index.tolist()
        names = list(columns) if columns is not None else [name for name in frame.columns if name != key]
        if not names:
            raise Invalid("There is no column to show.")
        self._frame = frame[names]
        self._rows = {row: number for number, row in enumerate(self.keys)}
        self.kind, self._large = self._find_kind(kind)

    def _find_kind(self, kind: str) -> tuple[Kind, Hashable | None]:
        if kind not in {"auto", "row", "text", "image"}:
            raise Invalid(f"kind must be 'auto', 'row', 'text' or 'image', not {kind!r}.")
        images: list[Hashable] = []
        texts: list[tuple[bool, int, Hashable]] = []
        for place, name in enumerate(self._frame.columns):
            sample = [value for value in self._frame.iloc[:50, place] if not is_missing(value)]
            if sample and all(map(_looks_like_image, sample)):
                images.append(name)
            elif sample and all(isinstance(value, str) for value in sample):
                long = sum(map(len, sample)) / len(sample) >= READING_LENGTH or len(self._frame.columns) == 1
                texts.append((not long, len(texts), name))
        texts.sort(key=lambda text: text[:2])
        if kind == "image" and not images:
            raise Invalid(
                "No column holds images: they are given as bytes (PNG, JPEG, GIF, WebP) or as paths of such files."
            )
        if kind == "text" and not texts:
            raise Invalid("No column holds texts.")
        if kind == "image" or (kind == "auto" and images):
            return "image", images[0]
        if kind == "text" or (kind == "auto" and texts and not texts[0][0]):
            return "text", texts[0][2]
        return "row", None

    def show(self, key: Hashable) -> dict[str, Any]:
        """Return what is shown of one item: its fields, and its text if it has one. JSON-able, at most some 25 kB."""
        row = self._rows[key]
        names = [name for name in self._frame.columns if name != self._large]
        fields: list[list[str | None]] = []
        room = MAX_FIELDS_TEXT
        for name in names:
            # Column by column: a row taken at once has one type, and integers beside floats lose their digits.
            value = as_text(self._frame[name].iloc[row])
            room -= len(str(name)) + len(value or "")
            if room < 0:
                fields.append(["…", f"{len(names) - len(fields):,} more columns; choose some with columns="])
                break
            fields.append([str(name)[:200], value])
        shown: dict[str, Any] = {"fields": fields}
        if self.kind == "text":
            cell = self._frame[self._large].iloc[row]
            text = "" if is_missing(cell) else str(cell)
            shown["text"] = text[:MAX_TEXT]
            if len(text) > MAX_TEXT:
                shown["more"] = len(text) - MAX_TEXT
        return shown

    def image(self, key: Hashable) -> tuple[str, bytes]:
        """Return the media type and the bytes of an item's image.

        Raises
        ------
        Invalid
            If there is none, it can't be read, it is too large, or it is none that browsers draw.
        """
        value = self._frame[self._large].iloc[self._rows[key]]
        if is_missing(value):
            raise Invalid("This item has no image.")
        if isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
        else:
            try:
                with Path(value).expanduser().open("rb") as file:
                    data = file.read(MAX_IMAGE_BYTES + 1)
            except OSError as error:
                raise Invalid(f"The image file can't be read: {error.strerror}.") from error
        if len(data) > MAX_IMAGE_BYTES:
            raise Invalid(f"The image is larger than {MAX_IMAGE_BYTES / 1e6:.0f} MB; scale it down first.")
        kind = media_type(data)
        if kind is None:
            raise Invalid("The image is none of PNG, JPEG, GIF and WebP.")
        return kind, data


def _require_columns(frame: pd.DataFrame, names: Sequence[Hashable], argument: str) -> None:
    unknown = [str(name) for name in names if name not in frame.columns]
    if unknown:
        raise Invalid(f"{argument}= names a column that the frame doesn't have: {', '.join(unknown)}.", columns=unknown)
