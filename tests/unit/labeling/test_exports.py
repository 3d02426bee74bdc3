from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.exports import Labels, export_labels, label_studio_config, spacy_spans


@pytest.fixture
def labels():
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "text": ["win a prize", 'say "hé"', "nothing"],
            "size": [1.5, float("nan"), 2.0],
            "at": pd.to_datetime(["2026-01-01", None, "2026-01-03"]),
            "label": ["spam", "ham", None],
            "p_ham": [0.1, 0.8, 0.5],
            "p_spam": [0.9, 0.2, 0.5],
        }
    )
    return Labels(frame, "id", ["ham", "spam"], "mail", 2)


def lines_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_tables_come_back_as_they_went(labels, tmp_path):
    pd.testing.assert_frame_equal(pd.read_parquet(export_labels(labels, str(tmp_path / "a.parquet"))), labels.frame)
    csv = pd.read_csv(export_labels(labels, str(tmp_path / "a.csv")), parse_dates=["at"])
    pd.testing.assert_frame_equal(csv, labels.frame, check_dtype=False)
    export_labels(labels, str(tmp_path / "a.jsonl"))
    lines = lines_of(tmp_path / "a.jsonl")
    assert lines[1] == {
        "id": 2, "text": 'say "hé"', "size": None, "at": None, "label": "ham", "p_ham": 0.8, "p_spam": 0.2,
    }  # fmt: skip
    assert lines[0]["at"] == "2026-01-01 00:00:00"
    assert lines[2]["label"] is None


def test_label_studio_gets_tasks_with_predictions(labels, tmp_path):
    export_labels(labels, str(tmp_path / "t.json"))
    tasks = json.loads((tmp_path / "t.json").read_text("utf-8"))
    assert [task["data"]["text"] for task in tasks] == labels.frame["text"].tolist()
    assert tasks[0]["predictions"] == [
        {
            "model_version": "mail 2",
            "score": 0.9,
            "result": [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["spam"]}}],
        }
    ]
    assert "predictions" not in tasks[2]
    view = ElementTree.fromstring(label_studio_config(["a<b", "c"]))
    assert [choice.get("value") for choice in view.iter("Choice")] == ["a<b", "c"]
    assert view.find("Choices").get("toName") == view.find("Text").get("name") == "text"


def test_spacy_gets_cats_and_spans(labels, tmp_path):
    export_labels(labels, str(tmp_path / "c.jsonl"), "spacy")
    lines = lines_of(tmp_path / "c.jsonl")
    assert lines[0] == {"text": "win a prize", "cats": {"ham": 0.1, "spam": 0.9}, "meta": {"key": "1"}}
    assert len(lines) == 2
    spacy_spans(str(tmp_path / "s.jsonl"), ["Ada lives", "x"], [[(0, 3, "PER")], []])
    assert lines_of(tmp_path / "s.jsonl") == [
        {"text": "Ada lives", "spans": [{"start": 0, "end": 3, "label": "PER"}]},
        {"text": "x", "spans": []},
    ]
    with pytest.raises(Invalid, match="outside text 0"):
        spacy_spans(str(tmp_path / "s.jsonl"), ["Ada"], [[(0, 4, "PER")]])
    with pytest.raises(Invalid, match="more of one"):
        spacy_spans(str(tmp_path / "s.jsonl"), ["Ada"], [])


def test_hugging_face_gets_a_folder_with_features(labels, tmp_path):
    export_labels(labels, str(tmp_path / "hf"), "huggingface")
    table = pq.read_table(tmp_path / "hf" / "data" / "train-00000-of-00001.parquet")
    assert table.column("label").to_pylist() == [1, 0, -1]
    readme = (tmp_path / "hf" / "README.md").read_text("utf-8")
    assert '- name: "label"\n    dtype:\n      class_label:\n        names:\n          \'0\': "ham"' in readme
    assert '- name: "size"\n    dtype: float64' in readme
    assert "num_examples: 3" in readme


def test_any_store_will_do(labels):
    export_labels(labels, "memory://exports/labels.parquet")
    assert len(pd.read_parquet("memory://exports/labels.parquet")) == 3
    export_labels(labels, "memory://exports/hf", "huggingface")
    assert len(pd.read_parquet("memory://exports/hf/data/train-00000-of-00001.parquet")) == 3


def test_what_cannot_be_written_is_refused(labels, tmp_path):
    with pytest.raises(Invalid, match="Say which format"):
        export_labels(labels, str(tmp_path / "labels"))
    with pytest.raises(Invalid, match="Say which format"):
        export_labels(labels, str(tmp_path / "labels"), "excel")
    with pytest.raises(Invalid, match="no column 'body'"):
        export_labels(labels, str(tmp_path / "t.json"), text="body")
    two = Labels(labels.frame.assign(body="b"), "id", labels.classes, "mail", 1)
    with pytest.raises(Invalid, match="Say which column is the text"):
        export_labels(two, str(tmp_path / "t.json"))
    cells = labels.frame.assign(vector=[np.zeros(2)] * 3)
    with pytest.raises(Invalid, match="does not know"):
        export_labels(Labels(cells, "id", labels.classes, "mail", 1), str(tmp_path / "hf"), "huggingface")
