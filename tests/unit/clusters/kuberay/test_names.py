"""Names follow from owner and cluster, are valid for Kubernetes and KubeRay, and never the same for two clusters."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator

import pytest

from jupyter_ext.clusters.backends.kuberay.names import label_value, namespace_for, object_name


def texts(seed: int, count: int = 3000) -> Iterator[str]:
    """Texts that are likely to make trouble: hyphens, capitals, spaces, other scripts, long ones, single characters."""
    chance = random.Random(seed)
    alphabets = (
        string.ascii_lowercase + string.digits + "--",
        "a-",
        string.printable,
        "äßé王\N{GRINNING FACE} .-A",
        "A_.-9",
    )
    for _ in range(count):
        length = chance.choice((1, 2, 3, 5, 8, 20, 50, 90))
        yield "".join(chance.choices(chance.choice(alphabets), k=length))


def test_names_are_valid_and_short_enough_for_all_that_kuberay_hangs_on() -> None:
    for owner, name in zip(texts(1), texts(2), strict=True):
        made = object_name(owner, name)
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made)
        # KubeRay takes 53 characters, and cuts the name of the head's service account, and of pods, at 50.
        assert len(made) <= 53
        assert len(f"{made}-head") <= 50
        assert len(f"{made}-head-svc") <= 63
        assert made == object_name(owner, name)


def test_two_clusters_never_share_a_name() -> None:
    clusters = set(zip(texts(3), texts(4), strict=True))
    assert len({object_name(*cluster) for cluster in clusters}) == len(clusters)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a-b", "c"), ("a", "b-c")),
        (("a--b", "c"), ("a", "b--c")),
        (("Ada", "x"), ("ada", "x")),
        (("ada", "x"), ("ada", "X")),
        (("a b", "x"), ("a_b", "x")),
        (("a" * 60, "x"), ("a" * 61, "x")),
        (("ada", "x y"), ("ada", "x-y")),
        (("ray-ada", "x"), ("ada", "x")),
    ],
)
def test_nor_do_those_that_look_alike(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert object_name(*one) != object_name(*other)


def test_plain_names_are_readable() -> None:
    assert object_name("ada", "big-one") == "ray-ada--big-one"
    assert object_name("ada", "Big one").startswith("ray-ada--big-one---")


def test_label_values_are_valid_and_what_kubespawner_writes() -> None:
    slugs = pytest.importorskip("kubespawner.slugs", reason="KubeSpawner is not installed (jupyter-ext[hub])")
    assert re.fullmatch(r"x---[0-9a-f]{8}", label_value(""))
    for text in texts(5):
        made = label_value(text)
        assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", made)
        assert made == slugs.safe_slug(text, is_valid=slugs.is_valid_label)


def test_every_user_has_another_namespace() -> None:
    users = set(texts(6))
    made = {namespace_for("ray-{user}", user) for user in users}
    assert len(made) == len(users)
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in made)
