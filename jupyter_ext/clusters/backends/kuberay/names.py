"""Names and labels of what belongs to a cluster: they follow from its owner and its name, and are always valid."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

#: Keys of our labels and annotations.
DOMAIN = "jupyter-ext.readthedocs.io"
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "jupyter-ext"
WORKSPACE = f"{DOMAIN}/workspace"
OWNER = f"{DOMAIN}/owner"
CLUSTER = f"{DOMAIN}/cluster"
POOL = f"{DOMAIN}/pool"
#: When a server last said that it wants the cluster.
KEPT_AT = f"{DOMAIN}/kept-at"

#: Labels that KubeRay puts on pods.
RAY_CLUSTER = "ray.io/cluster"
RAY_NODE_TYPE = "ray.io/node-type"
RAY_GROUP = "ray.io/group"

#: KubeRay cuts names of pods and of the head's service account at 50 characters; ``-head`` comes behind ours.
LONGEST = 50 - len("-head")
_DIGEST = 8
_PREFIX = "ray-"
_PLAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_LABEL = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?")


@dataclass(frozen=True)
class Identity:
    """Whose cluster it is, where, and what its objects are called.

    Examples
    --------
    >>> Identity("team", "ada", "default", namespace="ray").object_name
    'ray-ada--default'
    >>> Identity("team", "ada", "default", namespace="ray").labels[OWNER]
    'ada'
    """

    workspace: str
    owner: str
    name: str
    namespace: str

    @property
    def object_name(self) -> str:
        """The name of the RayCluster, with which the names of the other objects begin."""
        return object_name(self.owner, self.name)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of all objects, by which they are selected."""
        return {
            **workspace_labels(self.workspace),
            OWNER: label_value(self.owner),
            CLUSTER: label_value(self.name),
        }

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations of all objects, which say to the letter whose they are."""
        return {WORKSPACE: self.workspace, OWNER: self.owner, CLUSTER: self.name}


def workspace_labels(workspace: str) -> dict[str, str]:
    """Return the labels that all objects of a workspace have."""
    return {MANAGED_BY: MANAGER, WORKSPACE: label_value(workspace)}


def object_name(owner: str, name: str) -> str:
    """Return the name of a cluster's RayCluster: a DNS label of at most 45 characters that begins with a letter.

    Other owners and names give other names: what is not plain gets a digest, behind three hyphens, which plain ones
    can't have.

    Examples
    --------
    >>> object_name("ada", "default")
    'ray-ada--default'
    >>> object_name("Ada.Lovelace@example.org", "big one")
    'ray-ada-lovelace-examp--big-one---5d78df2c'
    """
    if all(_PLAIN.fullmatch(part) and "--" not in part for part in (owner, name)):
        plain = f"{_PREFIX}{owner}--{name}"
        if len(plain) <= LONGEST:
            return plain
    digest = hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:_DIGEST]
    room = LONGEST - len(f"{_PREFIX}--") - len(f"---{digest}")
    return f"{_PREFIX}{_slug(owner, room - 10)}--{_slug(name, 10)}---{digest}"


def namespace_for(template: str, owner: str) -> str:
    """Return a namespace's name with the owner in the place of ``{user}``.

    Examples
    --------
    >>> namespace_for("ray-{user}", "ada"), namespace_for("ray", "ada"), namespace_for("ray-{user}", "Ada L.")
    ('ray-ada', 'ray', 'ray-ada-l---ddd52c22')
    """
    plain = _PLAIN.fullmatch(owner) and "--" not in owner and len(owner) <= 40
    digest = hashlib.sha256(owner.encode()).hexdigest()[:_DIGEST]
    return template.replace("{user}", owner if plain else f"{_slug(owner, 29)}---{digest}")


def label_value(text: str) -> str:
    """Return a text as the value of a label: itself where that is valid, or else a slug of it with a digest.

    KubeSpawner forms ``hub.jupyter.org/username`` by the same rule, so a NetworkPolicy can name a user's server.

    Source: ``safe_slug`` of KubeSpawner 7 (``kubespawner/slugs.py``).

    Examples
    --------
    >>> label_value("ada"), label_value("Ada.Lovelace@example.org")
    ('ada', 'ada-lovelace-example---059b8523')
    """
    if _LABEL.fullmatch(text) and "--" not in text:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    slug = _slug(text, 32 - len(f"---{digest}"))
    if not slug[0].isalpha():
        slug = f"x-{slug[:19]}"
    return f"{slug}---{digest}"


def _slug(text: str, longest: int) -> str:
    """Return lower-case letters and digits of a text, single hyphens between, never empty.

    Examples
    --------
    >>> _slug("--Big  One!", 6), _slug("?", 6)
    ('big-on', 'x')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).lstrip("-")[:longest].rstrip("-") or "x"
