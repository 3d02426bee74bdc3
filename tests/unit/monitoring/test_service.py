"""The monitors' service on both databases: what is stored, listed, refused and told."""

from __future__ import annotations

import hashlib
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from jupyter_ext.errors import Invalid, NotFound
from jupyter_ext.monitoring import Profile
from jupyter_ext.monitoring.service import MonitorService
from jupyter_ext.monitoring.tables import drift_report, feature_drift, profile
from jupyter_ext.monitoring.values import DriftReportSpec, FeatureDrift, ProfileQuery, ProfileSpec, ReportQuery
from jupyter_ext.store.schema import outbox

DATA = Profile.of(pd.DataFrame({"size": [1.0, 2.0, 3.0]})).to_bytes()


def spec_of(store: Any, **how: Any) -> ProfileSpec:
    return ProfileSpec(**{"name": "training", "blob": store.blobs.put(DATA), "n_rows": 3} | how)


def feature(name: str, drifted: bool = False) -> FeatureDrift:
    return FeatureDrift(
        feature=name, kind="numeric", method="ks", statistic=0.25, threshold=0.1, p_value=0.001, q_value=0.002,
        drifted=drifted, n_reference=100, n_current=50,
    )  # fmt: skip


def report_of(**how: Any) -> DriftReportSpec:
    facts = {"name": "daily", "n_reference": 100, "n_current": 50, "alpha": 0.05, "correction": "bh"}
    return DriftReportSpec(**facts | {"features": [feature("z", True), feature("a")]} | how)


def rows(store: Any, *tables: sa.Table) -> int:
    with store.read() as tx:
        return sum(tx.scalar(sa.select(sa.func.count()).select_from(table)) for table in tables)


def test_a_profile_is_stored_and_found(store: Any) -> None:
    service = MonitorService(store)
    saved = service.save_profile(spec_of(store, model="churn/3", description="of May"), owner="ada")
    assert service.get_profile(saved.id, owner="ada") == saved
    assert (saved.name, saved.n_rows, saved.model, saved.owner) == ("training", 3, "churn/3", "ada")
    with pytest.raises(NotFound):
        service.get_profile(saved.id, owner="eve")


def test_only_whole_profiles_are_stored(store: Any) -> None:
    service = MonitorService(store)
    for how, said in (
        ({"blob": hashlib.sha256(b"nothing").hexdigest()}, "was not uploaded"),
        ({"blob": store.blobs.put(b"a picture of a cat")}, "not a profile"),
        ({"blob": store.blobs.put(DATA[:-3])}, "cut off"),
        ({"n_rows": 4}, "made from 3 rows, not from 4"),
    ):
        with pytest.raises(Invalid, match=said):
            service.save_profile(spec_of(store, **how), owner="ada")
    assert rows(store, profile) == 0


def test_profiles_are_listed_newest_first_by_name_and_model(store: Any) -> None:
    service = MonitorService(store)
    for name, model in (("a", None), ("b", "churn/1"), ("b", "churn/12"), ("c", "churn_all/1"), ("d", "churn")):
        service.save_profile(spec_of(store, name=name, model=model), owner="ada")
    service.save_profile(spec_of(store, name="b"), owner="eve")

    def names(**how: Any) -> list[tuple[str, str | None]]:
        return [(p.name, p.model) for p in service.list_profiles(ProfileQuery(**how), owner="ada").items]

    assert [name for name, _ in names()] == ["d", "c", "b", "b", "a"]
    assert names(name="b") == [("b", "churn/12"), ("b", "churn/1")]
    assert names(model="churn") == [("d", "churn"), ("b", "churn/12"), ("b", "churn/1")]
    assert names(model="churn/1") == [("b", "churn/1")]
    page = service.list_profiles(ProfileQuery(limit=2), owner="ada")
    rest = service.list_profiles(ProfileQuery(limit=2, cursor=page.next_cursor), owner="ada")
    assert [p.name for p in page.items + rest.items] == ["d", "c", "b", "b"]


def test_a_report_keeps_its_features_in_order_and_tells_the_panels(store: Any) -> None:
    service = MonitorService(store)
    reference = service.save_profile(spec_of(store), owner="ada")
    saved = service.save_report(report_of(profile_id=reference.id, model="churn/3"), owner="ada")
    assert saved.drifted == ("z",)
    assert [f.feature for f in saved.features] == ["z", "a"]
    assert service.get_report(saved.id, owner="ada") == saved
    assert service.list_reports(ReportQuery(model="churn"), owner="ada").items == [saved]
    assert service.list_reports(ReportQuery(name="weekly"), owner="ada").items == []
    with store.read() as tx:
        events = [row["data"] for row in tx.all(sa.select(outbox).where(outbox.c.noun == "monitor"))]
    assert events == [
        {
            "what": "report",
            "report_id": saved.id,
            "name": "daily",
            "model": "churn/3",
            "drifted": ["z"],
            "owner": "ada",
        },
    ]
    with pytest.raises(NotFound):
        service.get_report(saved.id, owner="eve")


def test_a_wrong_report_leaves_nothing(store: Any) -> None:
    service = MonitorService(store)
    theirs = service.save_profile(spec_of(store), owner="eve")
    with pytest.raises(Invalid, match="no profile"):
        service.save_report(report_of(profile_id=theirs.id), owner="ada")
    assert rows(store, drift_report, feature_drift, outbox) == 0
    with pytest.raises(ValueError, match="listed twice"):
        report_of(features=[feature("a"), feature("a")])
    for how in ({"alpha": 1}, {"correction": "maybe"}, {"n_reference": -1}, {"model": "a/b/c"}, {"model": "\0"}):
        with pytest.raises(ValueError, match=next(iter(how))):
            report_of(**how)


def test_a_model_version_is_looked_up_and_an_alias_becomes_its_number(store: Any) -> None:
    class Version:
        version = 7

    class Models:
        """Stands for the registry, whose own process takes seconds to start."""

        def get_version(self, name: str, ref: str) -> Version:
            if (name, ref) == ("churn", "@champion"):
                return Version()
            raise NotFound(f"There is no {name} {ref}.")

    service = MonitorService(store, models=Models())  # type: ignore[arg-type]
    assert service.save_report(report_of(model="churn/@champion"), owner="ada").model == "churn/7"
    with pytest.raises(Invalid, match="no churn 99"):
        service.save_profile(spec_of(store, model="churn/99"), owner="ada")
