"""Models through a real server: register, promote, load, lineage, magics."""

from __future__ import annotations

import uuid
from typing import Any

import pandas as pd
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from sklearn.linear_model import LogisticRegression

from jupyter_ext.errors import Invalid, NotFound

pytest.importorskip("mlflow")
# What importing and using MLflow in the kernel warns of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.DataFrame({"id": ["a", "b", "c", "d"], "area": [1.0, 2.0, 3.0, 4.0]})


@pytest.fixture
def name() -> str:
    return f"tumour {uuid.uuid4().hex[:8]}"


@pytest.fixture
def registered(client: Any, frame: pd.DataFrame, name: str) -> Any:
    dataset = client.datasets.register("biopsies", frame, key="id")
    model = LogisticRegression().fit(frame[["area"]], [0, 0, 1, 1])
    return client.models.register(
        name,
        model,
        example=frame[["area"]],
        dataset=dataset,
        metrics={"auc": 0.75},
        params={"C": 1.0},
        description="<b>",
    )


@pytest.fixture
def shell(client: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    from jupyter_ext.magics import _base
    from jupyter_ext.magics.models import ModelMagics

    monkeypatch.setattr(_base, "_client", client)
    running = InteractiveShell()
    running.register_magics(ModelMagics)
    yield running
    running.history_manager.end_session()


def test_the_whole_way(client: Any, frame: pd.DataFrame, name: str, registered: Any) -> None:
    assert (registered.name, registered.version, registered.metrics) == (name, 1, {"auc": 0.75})
    assert repr(registered) == f"<model {name} v1>"
    card = registered._repr_html_()
    assert "&lt;b&gt;" in card
    assert "<b></b>" not in card
    assert "area" in card

    moved = registered.promote("champion", reason="first")
    assert repr(moved) == f"@champion of {name} now points to version 1 (new)."
    champion = client.models.get(name, "@champion")
    assert champion.aliases == ("champion",)

    model = client.models.load(name, "@champion")
    assert isinstance(model, LogisticRegression)
    assert list(model.predict(frame[["area"]])) == [0, 0, 1, 1]
    assert client.models.load(name, 1) is not model

    lineage = champion.lineage()
    assert [node.kind for node in lineage.nodes] == ["dataset", "model_version"]
    assert list(lineage.frame()["made_from"]) == ["", "biopsies v1"]
    assert repr(lineage) == f"data set biopsies v1 → model {name} v1"
    assert "biopsies v1" in lineage._repr_html_()

    assert [model.name for model in client.models.list(name)] == [name]
    assert client.models.versions(name).frame().loc[0, "flavor"] == "sklearn"
    assert [move.reason for move in client.models.history(name)] == ["first"]


def test_an_answer_that_was_lost_does_not_double_the_version(
    client: Any, frame: pd.DataFrame, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_ext.errors import Unavailable

    real, lost = client.transport.post, []

    def losing(path: str, body: Any = None) -> Any:
        answer = real(path, body)
        if not lost:
            lost.append(answer)
            raise Unavailable("the answer was lost")
        return answer

    monkeypatch.setattr(client.transport, "post", losing)
    made = client.models.register(name, LogisticRegression().fit(frame[["area"]], [0, 0, 1, 1]))
    assert lost[0]["version"] == made.version == 1
    assert client.models.list(name)[0].latest_version == 1


def test_what_is_wrong_is_said(client: Any, registered: Any, name: str, frame: pd.DataFrame) -> None:
    with pytest.raises(Invalid, match="cannot name a model"):
        client.models.register("a/b", LogisticRegression())
    with pytest.raises(NotFound, match="no version 7"):
        client.models.promote(name, 7, "champion")
    with pytest.raises(Invalid, match="cannot be an alias"):
        client.models.promote(name, 1, "v1")
    with pytest.raises(NotFound, match="no alias @gone"):
        client.models.load(name, "@gone")
    with pytest.raises(NotFound, match="no data set"):
        client.models.register(name, LogisticRegression(), dataset="ds-nope")
    with pytest.raises(Invalid, match="job must be an object of this client or an id"):
        client.models.register(name, LogisticRegression(), job=3)


def test_magics(shell: Any, registered: Any, name: str) -> None:
    shell.run_line_magic("promote", f'"{name}" 1 --to champion --reason "passed review"')
    versions = shell.run_line_magic("models", f'"{name}"')
    assert versions[0].aliases == ("champion",)
    assert name in repr(shell.run_line_magic("models", ""))
    assert "→ v1" in shell.run_line_magic("models", "")._repr_html_()
    again = shell.run_line_magic("promote", f'"{name}" @champion --to challenger')
    assert (again.alias, again.to_version) == ("challenger", 1)
    with pytest.raises(UsageError, match="has no version 9"):
        shell.run_line_magic("promote", f'"{name}" 9 --to champion')
    with pytest.raises(UsageError, match="cannot be an alias"):
        shell.run_line_magic("promote", f'"{name}" 1 --to v2')
    with pytest.raises(UsageError, match="There is no model"):
        shell.run_line_magic("models", "no-such-model")


def test_completion(client: Any, registered: Any, name: str) -> None:
    from jupyter_ext.magics.models import complete_models, complete_promote

    registered.promote("canary")
    assert f'"{name}"' in complete_models(client, "%models ")
    assert f'"{name}"' in complete_promote(client, "%promote ")
    assert complete_promote(client, f'%promote "{name}" ') == ["1", "@canary"]
    assert complete_promote(client, f'%promote "{name}" 1 --to ') == ["canary", "challenger", "champion"]
    assert complete_promote(client, f'%promote "{name}" 1 ') == ["--to", "--reason"]
