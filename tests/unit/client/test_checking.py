from __future__ import annotations

from typing import Any

import pytest

from jupyter_ext.client._checking import compare
from jupyter_ext.clusters.environment import Environment


def environment(python: str = "3.11.4", executable: str | None = None, **packages: str) -> Environment:
    names = {"sklearn": "scikit-learn", "polars": "polars", "numpy": "numpy"}
    versions = {names[module]: version for module, version in packages.items()}
    modules: dict[str, tuple[str, ...]] = {module: (names[module],) for module in packages}
    return Environment(python=python, executable=executable, packages=versions, modules={"json": (), **modules})


HERE = environment(numpy="2.1.0", sklearn="1.5.0", polars="1.2.3")


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        (environment(numpy="2.0.1"), {"imported": ["numpy", "json"]}),
        # Nothing that the job uses is missing or different.
        (environment(), {}),
        (environment(numpy="1.0"), {"imported": ["json", "_thread", "jupyter_ext"]}),
        (environment("3.12.0", numpy="2.0.1"), {"imported": ["numpy"]}),
        (environment("3.11.9"), {"pickled": []}),
    ],
)
def test_what_fits_is_not_talked_about(there: Environment, asked: dict[str, Any]) -> None:
    found = compare(HERE, there, **asked)
    assert (found.errors, found.warnings) == ((), ())


def test_a_missing_package_is_told_with_what_to_do() -> None:
    there = environment(executable="/opt/python")
    assert compare(HERE, there, imported=["sklearn"]).errors == (
        "Your cluster has no module 'sklearn', which the job's code imports. "
        "Install it there: /opt/python -m pip install scikit-learn==1.5.0.",
    )
    (error,) = compare(HERE, there, pickled=["polars"]).errors
    assert error.startswith("Your cluster has no module 'polars', from which an object comes that is sent to the job.")
    # What a module that nobody has comes from is not guessed.
    (error,) = compare(HERE, there, imported=["cv2"]).errors
    assert error.endswith("Install the package that brings it.")


def test_a_file_of_the_users_is_no_package() -> None:
    (error,) = compare(HERE, environment(), imported=["utils"], own={"utils": "/home/ada/utils.py"}).errors
    assert "it is a file of yours (/home/ada/utils.py)" in error
    assert "pip" not in error


def test_other_versions_are_told() -> None:
    there = environment("3.12.1", numpy="1.26.4", sklearn="1.9.0", polars="0.9")
    found = compare(HERE, there, imported=["sklearn"], pickled=["numpy"])
    assert found.errors == ()
    assert found.warnings == (
        "The notebook runs Python 3.11, your cluster 3.12: what is sent may not be readable there.",
        "numpy is 2.1.0 in the notebook and 1.26.4 on your cluster.",
    )


def test_packages_are_the_same_however_they_are_written() -> None:
    there = Environment(python="3.11.1", packages={"Scikit_Learn": "2.0"}, modules={"sklearn": ("Scikit_Learn",)})
    (warning,) = compare(HERE, there, imported=["sklearn"]).warnings
    assert warning == "scikit-learn is 1.5.0 in the notebook and 2.0 on your cluster."
