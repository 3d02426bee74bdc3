"""Data sets and labels over REST, from the client, and by magic."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.labeling import ABSTAIN, builders, fit_label_model, labeling_function, lf_summary


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "message": ["m0", "m1", "m2", "m3", "m4"],
            "text": ["win a prize", "see you at ten", "WIN NOW", "lunch?", "call me, prize"],
            "length": [11, 14, 7, 6, 14],
        }
    )


@pytest.fixture
def unique(request) -> str:
    """A name of this test's own, since the server is shared."""
    return request.node.name.replace("[", "-").replace("]", "")


@pytest.fixture
def dataset(client, frame, unique):
    return client.datasets.register(unique, frame, key="message")


@pytest.fixture
def task(client, dataset, unique):
    return client.labels.task(unique, dataset, classes=["ham", "spam"])


@labeling_function(columns=["text"])
def promises(row):
    return 1 if "prize" in row.text or "win" in row.text.lower() else ABSTAIN


@labeling_function()
def question(row):
    return 0 if row.text.endswith("?") else ABSTAIN


# Over REST


async def upload(api, **columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    status, _ = await api("PUT", f"/blobs/{digest}", data=buffer.getvalue())
    assert status < 300
    return digest


async def test_the_whole_way_over_rest(api):
    blob = await upload(api, key=["a", "b"], x=[1.0, 2.0])
    status, dataset = await api("POST", "/datasets", json={"name": "rest", "blob": blob, "key": "key"})
    assert (status, dataset["version"], dataset["n_rows"]) == (201, 1, 2)
    assert dataset["columns"][1] == {"name": "x", "dtype": "double", "nullable": True}
    assert await api("GET", f"/datasets/{dataset['id']}") == (200, dataset)
    status, page = await api("GET", "/datasets", params={"name": "rest"})
    assert (status, page) == (200, {"items": [dataset], "next_cursor": None})

    spec = {"name": "rest", "dataset_id": dataset["id"], "classes": ["no", "yes"]}
    status, task = await api("POST", "/labels/tasks", json=spec)
    assert status == 201
    path = f"/labels/tasks/{task['id']}"
    assert await api("GET", path) == (200, task)

    votes = [{"key": "a", "label": "yes"}, {"key": "b", "label": None}]
    assert await api("POST", f"{path}/votes", json={"votes": votes}) == (201, {"stored": 1, "withdrawn": 1})
    status, page = await api("GET", f"{path}/votes")
    assert [(vote["key"], vote["label"], vote["voter"]) for vote in page["items"]] == [("a", "yes", "ada")]

    function = {"name": "f", "digest": "0" * 64, "source": "def f(row): ...", "n_votes": 1}
    function["votes_blob"] = await upload(api, key=["b"], vote=pa.array([0], pa.int16()))
    status, stored = await api("POST", f"{path}/functions", json=function)
    assert (status, stored["version"]) == (201, 1)
    assert await api("GET", f"{path}/functions") == (200, {"items": [stored], "next_cursor": None})

    blob = await upload(api, key=["a", "b"], label=["yes", None], p_0=[0.1, 0.5], p_1=[0.9, 0.5])
    spec = {"name": "rest", "task_id": task["id"], "blob": blob, "method": "majority", "functions": [stored["id"]]}
    status, label_set = await api("POST", "/labels/sets", json=spec)
    assert (status, label_set["n_items"], label_set["n_labeled"]) == (201, 2, 1)
    assert await api("GET", f"/labels/sets/{label_set['id']}") == (200, label_set)
    assert await api("GET", "/labels/sets") == (200, {"items": [label_set], "next_cursor": None})


async def test_errors_over_rest(api):
    blob = await upload(api, key=["a", "b"], x=[1.0, 2.0])
    status, error = await api("POST", "/datasets", json={"name": "rest", "blob": blob, "key": "kay"})
    assert (status, error["reason"]) == (400, "invalid")
    assert "Did you mean 'key'?" in error["message"]
    _, dataset = await api("POST", "/datasets", json={"name": "rest", "blob": blob, "key": "key"})
    spec = {"name": "rest", "dataset_id": dataset["id"], "classes": ["no", "yes"]}
    _, task = await api("POST", "/labels/tasks", json=spec)
    status, error = await api("POST", "/labels/tasks", json=spec | {"classes": ["yes", "no"]})
    assert (status, error["reason"], error["details"]["differing"]) == (409, "conflict", ["classes"])
    status, error = await api(
        "POST", f"/labels/tasks/{task['id']}/votes", json={"votes": [{"key": "a", "label": "maybe"}]}
    )
    assert (status, error["details"]) == (400, {"label": "maybe", "classes": ["no", "yes"]})
    for path in ("/datasets/ds-0", "/labels/tasks/task-0", "/labels/tasks/task-0/votes", "/labels/sets/ls-0"):
        status, error = await api("GET", path)
        assert (status, error["reason"]) == (404, "not_found")


# From the client


def test_a_frame_goes_up_and_comes_back(client, frame, dataset):
    pd.testing.assert_frame_equal(dataset.frame(), frame)
    assert dataset.keys == ("m0", "m1", "m2", "m3", "m4")
    assert repr(dataset) == f"Dataset({dataset.name!r}, version 1: 5 rows, 3 columns, key 'message')"
    html = dataset._repr_html_()
    assert "message (key)" in html
    assert "<code>int64</code>" in html


def test_equal_frames_are_one_version(client, frame, dataset, unique):
    assert client.datasets.register(unique, frame.copy(), key="message").id == dataset.id
    second = client.datasets.register(unique, frame.assign(length=0), key="message")
    assert second.version == 2
    assert client.datasets.get(unique).version == 2
    assert client.datasets.get(unique, 1).id == dataset.id
    assert client.datasets.get(dataset.id).id == dataset.id
    assert [handle.version for handle in client.datasets.list(unique)] == [2, 1]


def test_bad_frames_are_told(client, frame, unique):
    for wrong, key, says in [
        (frame, "massage", "Did you mean 'message'"),
        (frame.assign(message="m"), "message", "4 rows repeat"),
        (frame.rename(columns={"text": 3}), "message", "Column names must be text"),
        (frame.assign(text=[1, "a", None, [], {}]), "message", "can't be stored as Parquet"),
        (pd.concat([frame, frame], axis=1), "message", "same name"),
    ]:
        with pytest.raises(Invalid, match=says):
            client.datasets.register(unique, wrong, key=key)
    with pytest.raises(NotFound, match="Register it"):
        client.datasets.get(unique)
    client.datasets.register(unique, frame, key="message")
    with pytest.raises(NotFound, match="no version 9; the newest is 1"):
        client.datasets.get(unique, 9)


def test_whole_number_keys(client, frame, unique):
    numbers = client.datasets.register(unique, frame.assign(message=[10, 20, 30, 40, 50]), key="message")
    task = client.labels.task(unique, numbers, classes=["ham", "spam"])
    task.vote({20: "ham", 50: "spam"})
    assert task.votes().to_dense()[:, 0].tolist() == [-1, 0, -1, -1, 1]
    assert task.apply([question], progress=False).to_dense()[:, 0].tolist() == [-1, -1, -1, 0, -1]


def test_tasks_are_found_again(client, task, dataset, unique):
    assert client.labels.task(unique).id == task.id
    assert client.labels.task(unique, unique, classes=["ham", "spam"]).id == task.id
    assert task.dataset.id == dataset.id
    assert task.id in [other.id for other in client.labels.tasks()]
    with pytest.raises(Conflict, match="another classes"):
        client.labels.task(unique, dataset, classes=["ham", "egg"])
    with pytest.raises(NotFound, match="no label task 'nothing'"):
        client.labels.task("nothing")
    with pytest.raises(Invalid, match="needs both"):
        client.labels.task("nothing", dataset)
    with pytest.raises(Invalid, match="list of names"):
        client.labels.task("nothing", dataset, classes="ham")


def test_votes_of_a_person(task):
    assert task.votes().shape == (5, 0)
    assert task.vote({"m1": "ham", "m2": "spam"}).stored == 2
    assert task.vote({"m1": None}).withdrawn == 1
    votes = task.votes()
    assert votes.kinds == ("person",)
    assert votes.n_classes == 2
    assert votes.to_dense()[:, 0].tolist() == [-1, -1, 1, -1, -1]
    with pytest.raises(Invalid, match="'egg' is no class"):
        task.vote({"m0": "ham", "m1": "egg"})
    with pytest.raises(Invalid, match="no row with the key 'm9'"):
        task.vote({"m0": "ham", "m9": "ham"})
    assert len(task.answers()) == 1


def test_an_unchanged_function_is_not_run_again(task):
    runs = []

    def counted(source):
        scope = {"runs": runs.append, "labeling_function": labeling_function, "__name__": "__main__"}
        exec(f"@labeling_function()\ndef rule(row):\n    runs(row.message)\n    return {source}", scope)
        return scope["rule"]

    first = task.apply([counted("1"), promises], progress=False)
    assert len(runs) == 5
    assert first.to_dense().tolist() == [[1, 1], [1, -1], [1, 1], [1, -1], [1, 1]]
    assert set(task.timings) == {"rule", "promises"}
    again = task.apply([promises, counted("1")], progress=False)
    assert len(runs) == 5
    np.testing.assert_array_equal(again.to_dense(), first.to_dense()[:, ::-1])
    assert task.timings == {}
    changed = task.apply([counted("0")], progress=False)
    assert len(runs) == 10
    assert changed.to_dense()[:, 0].tolist() == [0] * 5
    task.apply([counted("1")], progress=False)
    assert len(runs) == 10, "the votes of an older version are kept"
    assert [(function.name, function.version) for function in task.functions()] == [("rule", 3), ("promises", 1)]
    assert task.vote_matrix(["rule"]).to_dense()[:, 0].tolist() == [1] * 5


def test_a_function_that_fails_is_told_and_kept(task):
    @labeling_function()
    def fragile(row):
        return 1 // (row.length - 6)

    with pytest.warns(UserWarning, match=r"fragile failed on 1 rows \(first: 3\): ZeroDivisionError"):
        task.apply([fragile, question], progress=False)
    assert task.errors["fragile"].count == 1
    assert {function.name: function.n_errors for function in task.functions()} == {"fragile": 1, "question": 0}


def test_further_columns_for_functions(task, frame):
    @labeling_function(columns=["sentiment"])
    def glad(row):
        return 0 if row.sentiment > 0 else ABSTAIN

    with pytest.raises(Invalid, match="'glad' reads a column 'sentiment'"):
        task.apply([glad], progress=False)
    richer = frame.assign(sentiment=[1, -1, -1, -1, 1]).iloc[::-1]
    assert task.apply([glad], richer, progress=False).to_dense()[:, 0].tolist() == [0, -1, -1, -1, 0]
    with pytest.raises(Invalid, match="exactly the 5 rows"):
        task.apply([promises], frame.head(3), progress=False)
    with pytest.raises(Invalid, match="needs the key column 'message'"):
        task.apply([promises], frame.drop(columns="message"), progress=False)


def test_from_votes_to_a_label_set(client, task, unique):
    functions = task.apply([promises, question], progress=False)
    assert lf_summary(functions)["coverage"].tolist() == [0.6, 0.2]
    task.vote({"m0": "spam", "m1": "ham"})
    votes = task.vote_matrix()
    assert votes.kinds == ("function", "function", "person")
    model = fit_label_model(votes, method="majority")
    labels = task.freeze(unique, model, votes, description="by hand and by rule")
    assert (labels.version, labels.value.n_labeled, labels.value.method) == (1, 5, "majority")
    assert len(labels.value.functions) == 2
    assert labels.value.voters == (votes.voters[2],)
    assert labels.value.metrics["coverage"] == 1.0
    frame = labels.frame()
    assert list(frame.columns) == ["key", "label", "p_ham", "p_spam"]
    assert frame["label"].tolist() == ["spam", "ham", "spam", "ham", "spam"]
    np.testing.assert_allclose(frame[["p_ham", "p_spam"]].to_numpy(), model.predict_proba(votes))
    assert "by hand and by rule" in labels._repr_html_()
    assert task.freeze(unique, model, votes, description="by hand and by rule").id == labels.id
    assert task.freeze(unique, model, votes).version == 2
    assert client.labels.set(unique, 1).id == labels.id
    assert client.labels.set(unique).version == 2
    assert client.labels.set_by_id(labels.id).value == labels.value
    with pytest.raises(NotFound):
        client.labels.set(unique, 3)


def test_rows_without_a_vote_have_no_label(task, unique):
    votes = task.apply([question], progress=False)
    frame = task.freeze(unique, fit_label_model(votes), votes).frame()
    assert frame["label"].isna().tolist() == [True, True, True, False, True]


def test_answers_stand_whatever_the_model_says(task, unique):
    votes = task.apply([question], progress=False)
    model = fit_label_model(votes)
    labels = task.freeze(unique, model, votes, answers={"m0": "spam", "m3": "ham"})
    frame = labels.frame().set_index("key")
    assert frame["label"].dropna().to_dict() == {"m0": "spam", "m3": "ham"}
    assert frame.loc["m0", ["p_ham", "p_spam"]].tolist() == [0, 1]
    assert labels.value.params["n_answers"] == 2
    for wrong in ({"m0": "eggs"}, {"m99": "ham"}):
        with pytest.raises(Invalid, match=r"is no class of task|has no row 'm99'"):
            task.freeze(unique, model, votes, answers=wrong)


def test_a_matrix_of_other_rows_is_not_frozen(task, unique):
    model = fit_label_model([[0, 1]])
    with pytest.raises(Invalid, match="has 5 rows and 2 classes; the votes have 1 rows"):
        task.freeze(unique, model, _matrix([[0, 1]]))


def _matrix(dense):
    from jupyter_ext.labeling import VoteMatrix

    return VoteMatrix.from_dense(dense)


# By magic


@pytest.fixture
def magics(client, monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_ext.magics import _base
    from jupyter_ext.magics.labels import LabelMagics

    monkeypatch.setattr(_base, "_client", client)
    return LabelMagics(InteractiveShell())


def test_label_opens_the_annotator_on_the_task(magics, task, unique):
    task.vote({"m1": "ham"})
    annotator = magics.label(unique)
    assert annotator.votes == {"m1": "ham"}
    assert annotator.remaining == ["m0", "m2", "m3", "m4"]
    annotator.label("m0", "spam")
    assert task.votes().to_dense()[:, 0].tolist() == [1, 0, -1, -1, -1]
    assert len(magics.label(f"{unique} --limit 2").remaining) == 2


def test_label_asks_for_the_uncertain_rows_first(magics, task, unique):
    task.apply([promises, question], progress=False)
    task.vote({"m1": "ham"})
    assert task.uncertain(5)[0] != "m1"
    assert len(magics.label(f"{unique} --only-uncertain 2").remaining) == 2


def test_label_tells_what_is_wrong(magics, task, unique):
    from IPython.core.error import UsageError

    with pytest.raises(UsageError, match="no label task 'nothing'"):
        magics.label("nothing")
    with pytest.raises(UsageError, match="--limit must be 1 or more"):
        magics.label(f"{unique} --limit 0")
    task.vote(dict.fromkeys(task.dataset.keys, "ham"))
    with pytest.raises(UsageError, match="your answer already"):
        magics.label(unique)


def test_label_completes_task_names(client, task, unique):
    from jupyter_ext.magics.labels import complete_label

    assert unique in complete_label(client, "%label ")


def test_lf_previews_a_function_before_it_is_kept(magics, task, unique, capsys):
    task.apply([question], progress=False)
    task.vote({"m0": "spam", "m1": "spam", "m3": "ham"})
    cell = "def rule(row):\n    return SPAM if 'w' in row.text.lower() else ABSTAIN\n"
    preview = magics.lf(unique, cell)
    assert (preview.n_rows, preview.votes, preview.n_judged, preview.n_right) == (5, {"spam": 2}, 1, 1)
    assert preview.precision[0] == 1.0
    assert "spam 2" in repr(preview)
    assert "<table" in preview._repr_html_()
    assert [function.name for function in task.functions()] == ["question"]

    preview = magics.lf(f"{unique} --keep --name shouting", cell)
    assert "Kept shouting, version 1: 2 votes." in capsys.readouterr().out
    stored = {function.name: function for function in task.functions()}["shouting"]
    assert stored.source == cell.rstrip("\n") + "\n"
    magics.lf(f"{unique} --keep --name shouting", cell.replace("'w'", "'call'"))
    assert "Kept shouting, version 2: 1 votes." in capsys.readouterr().out


def test_lf_takes_a_builder_and_gold_of_the_notebook(magics, task, unique):
    magics.shell.user_ns["answers"] = {"m0": "ham", "m4": "spam"}
    cell = "from jupyter_ext.labeling import builders\nprize = builders.keyword('prize', SPAM, 'text')\n"
    preview = magics.lf(f"{unique} --gold answers", cell)
    assert (preview.n_judged, preview.n_right, preview.votes) == (2, 1, {"spam": 2})
    assert preview.examples["known"].tolist() == ["ham", "spam"]  # what contradicts an answer comes first
    question_cell = "def asks(row):\n    return HAM if 'prize' in row.text else ABSTAIN\n"
    task.apply([promises], progress=False)
    assert magics.lf(unique, question_cell).n_conflicts == 2


def test_built_functions_are_stored_under_the_names_they_give_themselves(task):
    functions = [
        builders.keyword(["prize", "win"], 1, "text"),
        builders.regex(r"\b(?:prize|win)!?\b", 1, "text"),
        builders.expression("length > 6 and length < 9", 1, ["length"]),
        builders.dictionary({"späti": 0}, "text", name="späti, bald?"),
    ]
    votes = task.apply(functions, progress=False)
    assert votes.voters == tuple(function.name for function in functions)
    assert [function.name for function in task.functions()] == list(votes.voters)
    assert task.vote_matrix([functions[1].name]).n_votes == 2


def test_lf_tells_what_is_wrong(magics, task, unique):
    from IPython.core.error import UsageError

    with pytest.raises(UsageError, match="can't be read"):
        magics.lf(unique, "def rule(row:\n")
    with pytest.raises(UsageError, match="defines no labeling function"):
        magics.lf(unique, "x = 1\n")
    with pytest.raises(UsageError, match="Did you mean 'text'"):
        magics.lf(unique, "def rule(row):\n    return row.txet\n")
    with pytest.raises(UsageError, match="dict or a Series"):
        magics.lf(f"{unique} --gold nothing", "def rule(row):\n    return 1\n")
    with pytest.raises(UsageError, match="failed on every row, so it is not kept"):
        magics.lf(f"{unique} --keep", "def rule(row):\n    return 1 / 0\n")
    assert task.functions() == []


# Voters of all kinds


def test_models_vote_beside_functions_and_people(task, unique):
    task.apply([promises], progress=False)
    task.vote({"m1": "ham", "m2": "spam"})
    stored = task.add_model("topics", {"m0": "spam", "m3": "ham", "m4": None}, model="models:/topics/3")
    assert (stored.kind, stored.version, stored.n_votes, stored.source) == ("model", 1, 2, "models:/topics/3")
    assert task.add_model("topics", {"m0": "spam", "m3": "ham"}, model="models:/topics/3").id == stored.id
    assert task.add_model("topics", {"m0": "spam"}, model="models:/topics/4").version == 2
    votes = task.vote_matrix()
    assert votes.kinds == ("function", "model", "person")
    assert votes.to_dense()[:, 1].tolist() == [1, -1, -1, -1, -1]
    table = task.voters()
    assert table["kind"].tolist() == ["person", "function", "model"]
    assert table["n_votes"].tolist() == [2, 3, 1]
    assert table.loc["topics", "version"] == 2
    with pytest.raises(Invalid, match="no class of task"):
        task.add_model("topics", {"m0": "eggs"})
    with pytest.raises(Invalid, match="m9"):
        task.add_model("topics", {"m9": "spam"})


def test_what_failed_is_run_again(task):
    calls = []

    @labeling_function(columns=["text"])
    def flaky(row):
        calls.append(row.text)
        if len(calls) == 1:
            raise OSError("not yet")
        return 1

    flaky.__dict__["digest"] = "7" * 64
    with pytest.warns(UserWarning, match="flaky failed on 1 rows"):
        assert task.apply([flaky], progress=False).n_votes == 4
    assert task.apply([flaky], progress=False).n_votes == 5
    task.apply([flaky], progress=False)
    assert len(calls) == 10


# Versions of a label set


@pytest.fixture
def two_versions(task, unique):
    task.apply([promises], progress=False)
    votes = task.vote_matrix()
    first = task.freeze(unique, fit_label_model(votes, method="majority"), votes)
    task.vote({"m0": "ham", "m1": "ham"})
    votes = task.vote_matrix()
    return first, task.freeze(unique, fit_label_model(votes, method="majority"), votes)


def test_versions_differ_by_row_and_by_fact(two_versions):
    first, second = two_versions
    table = first.diff(second)
    assert {"key": "m1", "before": None, "after": "ham"} in table.to_dict("records")
    assert "voters" in table.attrs["changed"]
    assert "method" not in table.attrs["changed"]
    assert len(first.diff(first)) == 0


def test_sets_of_other_tasks_have_no_difference(client, dataset, two_versions, unique):
    other = client.labels.task(f"{unique}-other", dataset, classes=["a", "b"])
    votes = _matrix([[0]] * 5)
    frozen = other.freeze(f"{unique}-other", fit_label_model(votes, method="majority"), votes)
    with pytest.raises(Invalid, match="different tasks"):
        frozen.diff(two_versions[0])


def test_an_old_version_can_be_restored(client, two_versions, unique):
    first, second = two_versions
    restored = first.restore()
    assert (restored.version, restored.value.blob) == (3, first.value.blob)
    assert len(first.diff(restored)) == 0
    assert client.labels.set(unique).version == 3
    assert restored.restore().version == 3  # the newest stays as it is
    assert second.version == 2


def test_a_label_set_is_exported_with_its_rows(two_versions, tmp_path):
    path = two_versions[1].export(tmp_path / "labels.parquet")
    table = pd.read_parquet(path)
    assert table.columns.tolist() == ["message", "text", "length", "label", "p_ham", "p_spam"]
    assert table["message"].tolist() == ["m0", "m1", "m2", "m3", "m4"]
    assert table["label"].tolist()[1:3] == ["ham", "spam"]
    assert table["label"].isna().tolist() == [False, False, False, True, False]
    lines = pd.read_json(two_versions[1].export(tmp_path / "cats.jsonl", "spacy"), lines=True)
    assert lines["text"].tolist() == ["win a prize", "see you at ten", "WIN NOW", "call me, prize"]
