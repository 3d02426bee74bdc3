"""Profiles: what they keep, that they add up, and that they come back from bytes as they were."""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import functools
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring import Profile, drift
from jupyter_ext.monitoring.columns import CategoryColumn, NumericColumn
from jupyter_ext.monitoring.container import MAGIC, pack, read_header


def mixed(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.1, np.nan, rng.normal(5, 2, n)),
            "colour": rng.choice(["red", "green", "blue"], n),
            "member": rng.random(n) < 0.3,
            "since": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 10_000, n), unit="min"),
        }
    )


def numeric(profile: Profile, name: str) -> NumericColumn:
    column = profile.columns[name]
    assert isinstance(column, NumericColumn)
    return column


def test_facts_of_a_frame() -> None:
    frame = mixed(5_000)
    profile = Profile.of(frame)
    assert profile.n_rows == 5_000
    assert profile.kinds == {"size": "numeric", "colour": "categorical", "member": "boolean", "since": "datetime"}
    table = profile.table
    assert table.loc["size", "missing"] == frame["size"].isna().sum()
    assert table.loc["size", "mean"] == pytest.approx(frame["size"].mean())
    assert table.loc["size", "std"] == pytest.approx(frame["size"].std())
    assert table.loc["size", "max"] == frame["size"].max()
    assert table.loc["size", "median"] == pytest.approx(frame["size"].median(), abs=0.02)
    assert table.loc["since", "min"] == frame["since"].min()
    assert profile.columns["colour"].counts == frame["colour"].value_counts().to_dict()


def test_updates_give_what_one_frame_gives() -> None:
    parts = [mixed(1_000, seed) for seed in range(3)]
    grown, merged = Profile.of(parts[0]), Profile.of(parts[0])
    for part in parts[1:]:
        grown.update(part)
        merged = merged.merge(Profile.of(part, like=merged))
    whole = Profile.of(pd.concat(parts), like=Profile.of(parts[0]))
    for profile in (grown, merged):
        assert profile.n_rows == 3_000
        assert numeric(profile, "size").counts.tolist() == numeric(whole, "size").counts.tolist()
        assert numeric(profile, "size").m2 == pytest.approx(numeric(whole, "size").m2)
        assert numeric(profile, "size").error == 0.0
        assert profile.columns["colour"].counts == whole.columns["colour"].counts


def test_merging_leaves_both_as_they_were() -> None:
    a, b = Profile.of(mixed(100)), Profile.of(mixed(50, 1))
    before = a.table, b.table
    assert a.merge(b).n_rows == 150
    assert (a.n_rows, b.n_rows) == (100, 50)
    pd.testing.assert_frame_equal(a.table, before[0])
    pd.testing.assert_frame_equal(b.table, before[1])


@pytest.mark.parametrize("n", [1_500, 50_000])
def test_grids_of_one_distribution_have_edges_in_common_on_which_counts_stay_exact(n: int) -> None:
    rng = np.random.default_rng(2)
    parts = [pd.DataFrame({"x": rng.normal(size=n)}) for _ in range(4)]
    merged = Profile.of(parts[0])
    for part in parts[1:]:
        merged = merged.merge(Profile.of(part))
    column = numeric(merged, "x")
    exact = np.searchsorted(np.sort(pd.concat(parts)["x"]), column.edges, side="right")
    assert column.error == 0.0
    assert len(column.edges) > 60
    assert np.cumsum(column.counts)[:-1].tolist() == exact.tolist()


def test_grids_without_edges_in_common_merge_within_the_stated_error() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=50_000), rng.normal(size=50_000) * 1e-3
    merged = Profile.of(pd.DataFrame({"x": x})).merge(Profile.of(pd.DataFrame({"x": y})))
    column = numeric(merged, "x")
    exact = np.searchsorted(np.sort(np.append(x, y)), column.edges, side="right")
    assert 0 < column.error < 0.003
    assert np.abs(np.cumsum(column.counts)[:-1] - exact).max() <= column.error * 100_000


def test_bytes_bring_back_the_same_profile() -> None:
    profile = Profile.of(mixed(3_000))
    again = Profile.from_bytes(profile.to_bytes())
    assert again.to_bytes() == profile.to_bytes()
    assert again.table.astype(str).equals(profile.table.astype(str))
    assert again.update(mixed(10)).n_rows == 3_010


def test_a_profile_pickles_and_any_bytes_will_do() -> None:
    profile = Profile.of(mixed(100))
    again = pickle.loads(pickle.dumps(profile))
    assert again.to_bytes() == profile.to_bytes()
    assert copy.deepcopy(profile).update(mixed(10)).n_rows == 110
    assert profile.n_rows == 100
    for data in (bytearray(profile.to_bytes()), memoryview(profile.to_bytes())):
        assert Profile.from_bytes(data).n_rows == 100
    with pytest.raises(Invalid, match="not a profile"):
        Profile.from_bytes(None)  # type: ignore[arg-type]


def test_lists_may_be_categories() -> None:
    profile = Profile.of(pd.DataFrame({"x": [[1, 2], [1, 2], [3, 4]]}), kinds={"x": "categorical"})
    assert profile.columns["x"].counts == {"[1, 2]": 2, "[3, 4]": 1}


def test_a_column_costs_at_most_30_kilobytes_however_long_and_varied() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=100_000),
            "address": [f'{i} Ünïcode-Straße {"x" * 200} "{i % 7}"' for i in range(100_000)],
        }
    )
    for name in frame:
        assert len(Profile.of(frame[[name]]).to_bytes()) <= 30_000, name


def test_endless_categories_are_counted_without_choosing_among_them() -> None:
    ids = pd.DataFrame({"id": [f"user-{i}" for i in range(2_000)]})
    column = Profile.of(ids).update(ids).columns["id"]
    assert isinstance(column, CategoryColumn)
    assert len(column.counts) == 256
    assert set(column.counts.values()) == {2}
    assert column.other == 4_000 - 512
    assert column.buckets.sum() == 4_000


def test_long_categories_stay_apart_when_cut() -> None:
    texts = ["same beginning " * 20 + end for end in ("a", "b")]
    counts = Profile.of(pd.DataFrame({"t": texts})).columns["t"].counts
    assert len(counts) == 2


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.Series([1, 2, None], dtype="Int64"), "numeric"),
        (pd.Series([decimal.Decimal("1.5"), None], dtype=object), "numeric"),
        (pd.Series([True, None], dtype="boolean"), "boolean"),
        (pd.Series([True, None, False], dtype=object), "boolean"),
        (pd.Series(["a", None], dtype="category"), "categorical"),
        (pd.Series(["a", 1], dtype=object), "categorical"),
        (pd.Series([dt.date(2026, 1, 1)], dtype=object), "datetime"),
        (pd.Series(pd.to_datetime(["2026-01-01", None], utc=True)), "datetime"),
        (pd.Series(pd.array([1.5, None], dtype=pd.ArrowDtype(pa.float64()))), "numeric"),
        (pd.Series([1, pd.NA, 2.5], dtype=object), "numeric"),
        (pd.Series(pd.array([[1.0, 2.0], None], dtype=pd.ArrowDtype(pa.list_(pa.float64())))), "embedding"),
        (pd.Series(pd.arrays.ArrowExtensionArray(pa.array(["a", "b", None]).dictionary_encode())), "categorical"),
    ],
)
def test_kinds_of_pandas_types(values: pd.Series, kind: str) -> None:
    profile = Profile.of(values.to_frame("x"))
    assert profile.kinds == {"x": kind}
    assert profile.columns["x"].missing == values.isna().sum()


def test_a_kind_given_by_hand_wins_and_lasts() -> None:
    profile = Profile.of(pd.DataFrame({"code": [1, 2, 2]}), kinds={"code": "categorical"})
    profile.update(pd.DataFrame({"code": [2.0, np.nan]}))
    assert profile.columns["code"].counts == {"2": 3, "1": 1}


def test_an_arrow_table_is_a_frame() -> None:
    assert Profile.of(pa.table({"x": [1, 2]})).n_rows == 2


def test_a_column_without_values_takes_the_kind_it_gets_later() -> None:
    profile = Profile.of(pd.DataFrame({"x": [None, None]})).update(pd.DataFrame({"x": [1.0, 2.0]}))
    assert profile.kinds == {"x": "numeric"}
    assert profile.columns["x"].missing == 2


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"x": []}), "has no rows"),
        (pd.DataFrame(index=[0, 1]), "has no columns"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "several columns of the same name: x"),
        (pd.DataFrame({"x": [1.0, np.inf]}), "Column 'x' holds infinite values"),
        (pd.DataFrame({"x": [1.0, -1e300]}), "Column 'x' holds numbers beyond ±1e.140"),
        (pd.DataFrame({"x": [[], []]}), "Column 'x' holds lists that are not equally long rows of numbers"),
        (pd.DataFrame({"x": [[1], [2, 3]]}), "Column 'x' holds lists that are not equally long"),
        (pd.DataFrame({"x": [[1.0], [np.inf]]}), "infinite or missing numbers in its vectors"),
        (pd.DataFrame({"x": [1 + 2j]}), "cannot be profiled"),
        ([1, 2], "must be a DataFrame"),
    ],
)
def test_what_cannot_be_profiled_is_told(frame: object, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        Profile.of(frame)


def test_a_wrong_update_adds_nothing() -> None:
    profile = Profile.of(mixed(100))
    before = profile.to_bytes()
    for frame, said in (
        (mixed(10).drop(columns="size"), "lacks size"),
        (mixed(10).assign(more=1), "has also more"),
        (mixed(10).assign(since="yesterday"), "'since' changed its kind: it was datetime and is categorical"),
        (mixed(10).assign(size=np.inf), "infinite"),
    ):
        with pytest.raises(Invalid, match=said):
            profile.update(frame)
        assert profile.to_bytes() == before


def test_profiles_that_do_not_fit_do_not_merge() -> None:
    profile = Profile.of(mixed(100))
    with pytest.raises(Invalid, match=r"kinds of columns differ.*'size' \(numeric, then categorical\)"):
        profile.merge(Profile.of(mixed(10).assign(size="big")))
    other = Profile(profile.columns, 100, {**profile.settings, "grid": 60})
    with pytest.raises(Invalid, match="different settings"):
        profile.merge(other)
    with pytest.raises(Invalid, match="merges with a Profile, not DataFrame"):
        profile.merge(mixed(10))  # type: ignore[arg-type]


def test_wrong_kinds_are_told() -> None:
    with pytest.raises(Invalid, match="not in the frame: nothing"):
        Profile.of(mixed(10), kinds={"nothing": "numeric"})
    with pytest.raises(Invalid, match="a kind is one of numeric, categorical"):
        Profile.of(mixed(10), kinds={"size": "float"})  # type: ignore[dict-item]
    with pytest.raises(Invalid, match="'colour' cannot be read as numeric"):
        Profile.of(mixed(10), kinds={"colour": "numeric"})
    with pytest.raises(Invalid, match="kinds must be a mapping from columns to kinds, not str"):
        Profile.of(mixed(10), kinds="numeric")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="like must be a Profile, not DataFrame"):
        Profile.of(mixed(10), like=mixed(10))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="'colour' is not boolean"):
        Profile.of(mixed(10), kinds={"colour": "boolean"})


def test_bytes_that_are_no_profile_are_refused() -> None:
    good = Profile.of(mixed(50)).to_bytes()
    newer = MAGIC + (9).to_bytes(2, "little") + good[len(MAGIC) + 2 :]
    for data, said in (
        (b"", "not a profile"),
        (b"PK\x03\x04" + b"0" * 100, "not a profile"),
        (good[:-1], "cut off"),
        (good + b"0", "bytes too many"),
        (good[:30], "cut off"),
        (newer, "format 9"),
        (pack({"n_rows": -1}, []), "how many rows"),
        (pack({"n_rows": 3}, [])[:-1] + b"x", "damaged"),
    ):
        with pytest.raises(Invalid, match=said):
            read_header(data)


def test_damage_inside_is_found_or_harmless() -> None:
    """Flip bytes everywhere: reading either fails with our error or gives a profile, never anything else."""
    good = bytearray(Profile.of(mixed(40)).to_bytes())
    refused = 0
    for place in range(0, len(good), 37):
        data = bytes(good[:place] + bytes([good[place] ^ 0x5A]) + good[place + 1 :])
        try:
            Profile.from_bytes(data)
        except Invalid:
            refused += 1
    assert refused > 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Seven row groups, more columns than one task reads."""
    frame = mixed(3_000).assign(**{f"more{i}": np.arange(3_000.0) * (i + 1) for i in range(70)})
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=450)
    return tmp_path / "rows.parquet"


def test_a_file_is_profiled_by_parts_as_if_it_were_one_frame(file: Path) -> None:
    frame = pd.read_parquet(file)
    whole = Profile.of(frame, like=Profile.of(frame[:450]))
    parts = Profile.of_parquet(file)
    assert parts.n_rows == 3_000
    assert list(parts.columns) == list(frame.columns)
    assert numeric(parts, "more69").counts.tolist() == numeric(whole, "more69").counts.tolist()
    assert parts.columns["colour"].counts == whole.columns["colour"].counts
    ratio = numeric(parts, "more69").rows / numeric(parts, "more0").rows
    assert np.allclose(ratio[np.isfinite(ratio)], 70), "the same rows are kept of all columns"
    assert drift(parts, Profile.of_parquet(file, like=parts, columns=["size", "since"])).drifted == []


def test_a_file_that_cannot_be_profiled_is_told(file: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no parquet")
    for path, how, said in (
        (tmp_path / "text", {}, "can't be read as Parquet"),
        (tmp_path / "nothing", {}, "can't be read as Parquet"),
        (file, {"columns": ["size", "nothing"]}, "The file lacks nothing"),
        (file, {"kinds": {"nothing": "numeric"}}, "not in the file: nothing"),
        (file, {"backend": "spark"}, "no backend 'spark'"),
    ):
        with pytest.raises(Invalid, match=said):
            Profile.of_parquet(path, **how)


def test_a_file_is_profiled_by_tasks_of_ray(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Ray's calls answered in this process; a real head takes half a minute to start."""
    ray = SimpleNamespace(
        is_initialized=lambda: True,
        cluster_resources=lambda: {"CPU": 2.0},
        remote=lambda function: SimpleNamespace(remote=lambda *given: functools.partial(function, *given)),
        get=lambda promised: promised(),
        cancel=lambda promised: None,
        exceptions=SimpleNamespace(RayTaskError=ZeroDivisionError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    apart, here = Profile.of_parquet(file, backend="ray"), Profile.of_parquet(file)
    assert apart.table.drop(columns="median").equals(here.table.drop(columns="median"))
    assert numeric(apart, "size").counts.tolist() == numeric(here, "size").counts.tolist()
    with pytest.raises(Invalid, match="cannot be read as numeric"):
        Profile.of_parquet(file, kinds={"colour": "numeric"}, backend="ray")


def test_without_a_cluster_ray_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    with pytest.raises(Invalid, match="no Ray cluster here"):
        Profile.of_parquet(file, backend="ray")
