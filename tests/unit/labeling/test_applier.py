from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import ABSTAIN, LFApplier, labeling_function
from jupyter_ext.labeling.functions import LabelingFunction


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"text": ["WIN NOW", "hello", "see you", "PRIZE"], "mean radius": [1.0, 2.0, 3.0, 4.0], "n": [1, 2, 3, 4]},
        index=[10, 20, 30, 40],
    )


@labeling_function()
def shouts(row):
    return 1 if row.text.isupper() else ABSTAIN


@labeling_function(columns=["mean radius"])
def small(row):
    return 0 if row["mean radius"] < 3 else ABSTAIN


def test_votes_by_row_and_function(frame):
    votes = LFApplier([shouts, small]).apply(frame)
    assert votes.voters == ("shouts", "small")
    assert votes.kinds == ("function", "function")
    assert votes.to_dense().tolist() == [[1, 0], [-1, 0], [-1, -1], [1, -1]]


def test_rows_give_python_values_by_attribute_and_item(frame):
    seen = []

    @labeling_function()
    def look(row):
        seen.append((row.text, row["text"], row["mean radius"], type(row.n)))
        return ABSTAIN

    LFApplier([look]).apply(frame.head(1))
    assert seen == [("WIN NOW", "WIN NOW", 1.0, int)]


def test_more_rows_than_a_chunk():
    many = pd.DataFrame({"x": np.arange(25_001)})

    @labeling_function()
    def odd(row):
        return 1 if row.x % 2 else ABSTAIN

    dense = LFApplier([odd]).apply(many).to_dense()[:, 0]
    np.testing.assert_array_equal(dense, np.where(many.x % 2, 1, -1))


def test_a_function_that_fails_is_reported_and_the_others_stand(frame):
    @labeling_function()
    def fragile(row):
        return 1 if 1 / (row.n - 2) > 0 else 0

    applier = LFApplier([fragile, shouts])
    votes = applier.apply(frame)
    assert votes.to_dense().tolist() == [[0, 1], [-1, -1], [1, -1], [1, 1]]
    report = applier.errors["fragile"]
    assert (report.count, report.rows) == (1, (1,))
    assert "ZeroDivisionError" in report.traceback
    assert "1 / (row.n - 2)" in report.traceback
    assert str(report).startswith("fragile failed on 1 rows (first: 1): ZeroDivisionError")
    assert set(applier.errors) == {"fragile"}
    assert set(applier.timings) == {"fragile", "shouts"}


@pytest.mark.parametrize("answer", [True, "spam", None, 1.0, 2, -2, float("nan")])
def test_what_is_no_class_is_an_error_of_the_function(frame, answer):
    @labeling_function()
    def wrong(row):
        return answer if row.n == 3 else 0

    applier = LFApplier([wrong], n_classes=2)
    assert applier.apply(frame).to_dense()[:, 0].tolist() == [0, 0, -1, 0]
    assert applier.errors["wrong"].rows == (2,)
    assert "a vote is the number of a class from 0 to 1, or ABSTAIN" in applier.errors["wrong"].traceback


def test_numpy_integers_are_votes(frame):
    @labeling_function()
    def rule(row):
        return np.int8(1)

    assert LFApplier([rule]).apply(frame).to_dense().tolist() == [[1]] * 4


def test_preprocessors_are_shared_and_do_not_leak(frame):
    calls = []

    def lower(row):
        calls.append(row.n)
        row.text = row.text.lower()
        return row

    @labeling_function(pre=[lower])
    def wins(row):
        return 1 if "win" in row.text else ABSTAIN

    @labeling_function(pre=[lower])
    def prizes(row):
        return 1 if "prize" in row.text else ABSTAIN

    votes = LFApplier([wins, shouts, prizes]).apply(frame)
    assert calls == [1, 2, 3, 4]
    assert votes.to_dense().tolist() == [[1, 1, -1], [-1, -1, -1], [-1, -1, -1], [-1, 1, 1]]
    assert frame.text.tolist() == ["WIN NOW", "hello", "see you", "PRIZE"]


def test_a_preprocessor_that_fails_is_an_error_of_its_functions(frame):
    def parse(row):
        if row.n == 2:
            raise ValueError("no document")
        return row

    @labeling_function(pre=[parse])
    def rule(row):
        return 1

    applier = LFApplier([rule, shouts])
    assert applier.apply(frame).to_dense()[:, 0].tolist() == [1, -1, 1, 1]
    assert applier.errors["rule"].rows == (1,)
    assert "no document" in applier.errors["rule"].traceback


def test_an_unknown_column_names_function_column_and_the_nearest(frame):
    @labeling_function()
    def typo(row):
        return 1 if row.txt else 0

    @labeling_function(columns=["mean_radius"])
    def declared(row):
        return 1

    @labeling_function(pre=[lambda row: row.txt])
    def prepared(row):
        return 1

    for function, column, near in [
        (typo, "txt", "text"),
        (declared, "mean_radius", "mean radius"),
        (prepared, "txt", "text"),
    ]:
        with pytest.raises(Invalid, match=f"'{function.name}' reads a column '{column}'.*Did you mean '{near}'"):
            LFApplier([function]).apply(frame)


def test_a_function_may_ask_whether_a_column_is_there(frame):
    @labeling_function()
    def rule(row):
        return 1 if getattr(row, "subject", None) else 0

    assert LFApplier([rule]).apply(frame).to_dense()[:, 0].tolist() == [0, 0, 0, 0]


def test_bad_functions_are_refused(frame):
    with pytest.raises(Invalid, match="decorate it"):
        LFApplier([lambda row: 1])
    with pytest.raises(Invalid, match="same name: shouts"):
        LFApplier([shouts, shouts])
    with pytest.raises(Invalid, match="two columns of one name"):
        LFApplier([shouts]).apply(pd.concat([frame, frame], axis=1))


def test_no_rows_and_no_functions(frame):
    assert LFApplier([shouts]).apply(frame.head(0)).shape == (0, 1)
    assert LFApplier([]).apply(frame).shape == (4, 0)


def test_a_long_run_shows_its_progress(frame, capsys):
    @labeling_function()
    def slow(row):
        time.sleep(0.15)
        return 1

    LFApplier([labeling_function(name=f"slow {i}")(slow.function) for i in range(3)]).apply(frame)
    assert "labeling functions" in capsys.readouterr().err
    LFApplier([shouts]).apply(frame)
    assert capsys.readouterr().err == ""


def test_rows_that_fail_leave_the_others_in_their_places():
    def odd(row):
        if row.text == "stop":
            raise StopIteration
        return {"a": 0, "b": 1}[row.text]

    frame = pd.DataFrame({"text": ["stop", "a", "x", "b", "stop", "b", "y"]})
    applier = LFApplier([labeling_function(name="odd")(odd)])
    assert applier.apply(frame).to_dense().ravel().tolist() == [-1, 0, -1, 1, -1, 1, -1]
    assert (applier.errors["odd"].count, applier.errors["odd"].rows) == (4, (0, 2, 4, 6))


def test_a_function_may_vote_on_many_rows_at_once(frame):
    seen = []

    def batch(rows):
        seen.append(len(rows))
        return [ValueError("no") if text == frame["text"].iloc[1] else 1 for text in rows["text"]]

    lf = LabelingFunction(lambda row: 1, name="fast", resources={}, pre=[], columns=["text"], batch=batch)
    applier = LFApplier([lf])
    assert applier.apply(frame).to_dense().ravel().tolist() == [1, -1, 1, 1]
    assert seen == [4]
    assert applier.errors["fast"].rows == (1,)


def test_a_batch_that_gives_too_few_votes_fails_on_every_row(frame):
    lf = LabelingFunction(lambda row: 1, name="short", resources={}, pre=[], columns=None, batch=lambda rows: [1])
    applier = LFApplier([lf])
    assert applier.apply(frame).n_votes == 0
    assert applier.errors["short"].count == 4
    assert "1 votes for 4 rows" in applier.errors["short"].traceback


@pytest.fixture
def many():
    random = np.random.default_rng(0)
    return pd.DataFrame({"x": random.normal(size=25_000), "text": [f"row {i}" for i in range(25_000)]})


@labeling_function(columns=["x"])
def positive(row):
    if row.x > 3:
        raise ValueError("too much")
    return 1 if row.x > 0 else ABSTAIN


def test_in_several_processes_it_is_the_same(many):
    lfs = [positive, labeling_function(name="seven")(lambda row: 0 if row.text.endswith("7") else ABSTAIN)]
    one, two = LFApplier(lfs), LFApplier(lfs, n_jobs=2)
    assert (one.apply(many).to_dense() == two.apply(many, progress=False).to_dense()).all()
    assert one.errors["positive"].count == two.errors["positive"].count == int((many["x"] > 3).sum())
    assert one.errors["positive"].rows == two.errors["positive"].rows
    assert "too much" in two.errors["positive"].traceback
    assert two.timings["positive"] > 0


def test_in_several_processes_a_missing_column_is_told(many):
    @labeling_function()
    def typo(row):
        return row.txet

    with pytest.raises(Invalid, match="Did you mean 'text'"):
        LFApplier([typo], n_jobs=2).apply(many)


def test_a_parquet_file_is_read_a_row_group_at_a_time(many, tmp_path):
    many.to_parquet(tmp_path / "rows.parquet", row_group_size=4_000)
    expected = LFApplier([positive]).apply(many).to_dense()
    for n_jobs in (1, 2):
        applier = LFApplier([positive], n_jobs=n_jobs)
        assert (applier.apply(tmp_path / "rows.parquet").to_dense() == expected).all()
        assert applier.errors["positive"].rows == tuple(np.flatnonzero(many["x"] > 3)[:10])
    with pytest.raises(Invalid, match="can't be read as Parquet"):
        LFApplier([positive]).apply(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"not at all")
    with pytest.raises(Invalid, match="can't be read as Parquet"):
        LFApplier([positive]).apply(tmp_path / "bad.parquet")
    with pytest.raises(Invalid, match="reads a column 'x'"):
        many[["text"]].to_parquet(tmp_path / "text.parquet")
        LFApplier([positive]).apply(tmp_path / "text.parquet")


class Counted:
    """Counts how often a function is called; its digest is that of what it does."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def function(self, name="long", limit=5):
        def long(row, limit):
            self.rows.append(row.text)
            if row.text == "bad":
                raise ValueError("bad")
            return 1 if len(row.text) > limit else ABSTAIN

        lf = labeling_function(name=name, columns=["text"], resources={"limit": limit})(long)
        lf.__dict__["digest"] = f"{limit:064d}"
        return lf


def test_only_new_rows_are_run_again(tmp_path):
    counted = Counted()
    first = pd.DataFrame({"text": ["a", "longer text", "bad", "b"], "other": [1, 2, 3, 4]})
    applier = LFApplier([counted.function()], cache=tmp_path)
    assert applier.apply(first).to_dense().ravel().tolist() == [-1, 1, -1, -1]
    assert counted.rows == ["a", "longer text", "bad", "b"]
    counted.rows.clear()
    # Another order, another value in a column that it does not read, a new row; and what failed is tried again.
    second = pd.DataFrame({"text": ["b", "bad", "new and long", "longer text"], "other": [0, 0, 0, 0]})
    applier = LFApplier([counted.function()], cache=tmp_path)
    assert applier.apply(second).to_dense().ravel().tolist() == [-1, -1, 1, 1]
    assert counted.rows == ["bad", "new and long"]
    assert applier.errors["long"].rows == (1,)


def test_only_changed_functions_are_run_again(tmp_path):
    counted = Counted()
    frame = pd.DataFrame({"text": ["a", "abc", "abcdef"]})
    LFApplier([counted.function("one", 1), counted.function("two", 2)], cache=tmp_path).apply(frame)
    counted.rows.clear()
    votes = LFApplier([counted.function("one", 1), counted.function("two", 4)], cache=tmp_path).apply(frame)
    assert votes.to_dense().tolist() == [[-1, -1], [1, -1], [1, 1]]
    assert counted.rows == ["a", "abc", "abcdef"]


def test_what_was_done_before_an_interruption_is_kept(tmp_path):
    counted = Counted()
    frame = pd.DataFrame({"text": [f"{i}" for i in range(15_000)]})
    lf = counted.function(limit=4)
    calm = lf.function

    def interrupted(row, limit):
        if row.text == "12000":
            raise KeyboardInterrupt
        return calm(row, limit)

    lf.function = interrupted
    with pytest.raises(KeyboardInterrupt):
        LFApplier([lf], cache=tmp_path).apply(frame)
    counted.rows.clear()
    votes = LFApplier([counted.function(limit=4)], cache=tmp_path).apply(frame)
    assert counted.rows == [f"{i}" for i in range(10_000, 15_000)]
    assert votes.to_dense().ravel().tolist() == [-1] * 10_000 + [1] * 5_000


def test_rows_with_cells_of_any_kind_are_kept(tmp_path):
    calls = []

    @labeling_function(columns=["v"])
    def first(row):
        calls.append(1)
        return int(row.v[0])

    first.__dict__["digest"] = "0" * 64
    frame = pd.DataFrame({"v": [np.array([1.0, 2.0]), [0, 3]]})
    for _ in range(2):
        assert LFApplier([first], cache=tmp_path).apply(frame).to_dense().ravel().tolist() == [1, 0]
    assert len(calls) == 2


def test_bad_ways_to_run_are_refused(tmp_path, many):
    with pytest.raises(Invalid, match="n_jobs"):
        LFApplier([positive], n_jobs=0)
    with pytest.raises(Invalid, match="no backend 'dask'"):
        LFApplier([positive], backend="dask")
    with pytest.raises(Invalid, match="for frames in memory"):
        LFApplier([positive], cache=tmp_path).apply("rows.parquet")
