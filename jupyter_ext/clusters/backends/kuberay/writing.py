"""Writing the objects of clusters: created once, brought up to date, deleted, and never somebody else's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

from jupyter_ext.clusters.backends.kuberay import names, objects, reading
from jupyter_ext.clusters.backends.kuberay.api import Api
from jupyter_ext.clusters.backends.kuberay.names import Identity
from jupyter_ext.clusters.backends.kuberay.options import Object
from jupyter_ext.errors import Conflict, Invalid, NotFound, Unavailable

_EDITS = 6

#: Returns the numbers that a worker group is to have, by their fields.
Change = Callable[[Object], dict[str, int]]


class Writer:
    """Writes the objects of one cluster, and waits for what comes of it.

    Parameters
    ----------
    api
        The client.
    identity
        Whose cluster.
    patience
        Seconds that deleting may take.
    """

    def __init__(self, api: Api, identity: Identity, *, patience: float) -> None:
        self._api = api
        self._identity = identity
        self._patience = patience

    def get(self, kind: str = "RayCluster", name: str = "") -> Object | None:
        """Return an object of the cluster; None when there is none, or it is somebody else's."""
        try:
            found = self._api.get(kind, self._identity.namespace, name or self._identity.object_name)
        except NotFound:
            return None
        return found if reading.belongs(found, self._identity) else None

    def await_former(self) -> None:
        """Wait until a RayCluster that is being deleted is gone: what belongs to it goes too.

        Raises
        ------
        Unavailable
            It is still there when patience ends.
        """
        cluster = self.get()
        if cluster is not None and reading.is_leaving(cluster):
            self._await_gone(cluster, time.monotonic() + self._patience)

    def put(self, item: Object) -> Object:
        """Create an object. One of ours that exists is brought to what it should be, and returned.

        Raises
        ------
        Conflict
            It exists and is somebody else's. It is left alone.
        """
        kind, name = item["kind"], item["metadata"]["name"]
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._api.create(item)
            except Conflict as error:
                conflict = error
            try:
                found = self._api.get(kind, item["metadata"].get("namespace"), name)
            except NotFound:
                found = None
            if found is not None and not reading.same_owner(found, item):
                raise Conflict(
                    f"There is a {kind} {name!r} in the namespace {self._identity.namespace!r} that belongs to "
                    "somebody else. It was left as it is: give this workspace a namespace of its own."
                )
            if found is not None and not self._is_going(found):
                return self._take(found, item)
            if time.monotonic() > deadline:
                raise Unavailable(f"The old {kind} {name!r} does not go. {conflict.message}")
            time.sleep(0.1)

    def adopt(self, items: list[Object], cluster: Object) -> None:
        """Make a RayCluster the owner of objects, so that they go with it, whoever deletes it.

        Raises
        ------
        Unavailable
            Somebody deleted one meanwhile.
        """
        reference = {"apiVersion": cluster["apiVersion"], "kind": cluster["kind"]}
        reference |= {key: cluster["metadata"][key] for key in ("name", "uid")}
        for item in items:
            # The uid makes sure that it is the one that we put there.
            change = {"metadata": {"uid": item["metadata"]["uid"], "ownerReferences": [reference]}}
            try:
                self._api.merge(item["kind"], self._identity.namespace, item["metadata"]["name"], change)
            except (NotFound, Invalid) as error:
                raise Unavailable(f"The cluster {self._identity.name!r} was stopped while it started.") from error

    def edit_groups(self, change: Change) -> None:
        """Change numbers of worker groups, and nothing else of the RayCluster: others write to it all the time.

        Raises
        ------
        NotFound
            There is no RayCluster, or it is ending.
        Unavailable
            Others changed it each time that this was tried.
        """
        for attempt in range(_EDITS):
            # Others write in an instant, and seldom; longer each time, for those that don't.
            time.sleep(0.025 * (2**attempt - 1))
            cluster = self.get()
            if cluster is None or reading.is_leaving(cluster):
                raise NotFound(f"The cluster {self._identity.name!r} does not run.")
            operations = list(_operations(cluster, change))
            if not operations:
                return
            try:
                self._api.edit(cluster, operations)
                return
            except Conflict:
                continue
        raise Unavailable(f"The cluster {self._identity.name!r} is being changed all the time. Try again.")

    def delete(self) -> None:
        """Delete the RayCluster with all that it owns, and what a start left behind; return when its pods are gone.

        Raises
        ------
        Unavailable
            Something is left when patience ends.
        """
        cluster = self.get()
        # By now: a start that comes while this ends makes others of the same names.
        dependents = [self.get(kind, name) for kind, name in objects.dependent_names(self._identity)]
        if cluster is not None:
            self._api.delete(cluster, foreground=True)
            self._await_gone(cluster, time.monotonic() + self._patience)
        for item in dependents:
            if item is not None:
                self._api.delete(item)

    def await_head(self, seconds: float) -> Object:
        """Return the head's pod as soon as there is one, ready or not.

        Raises
        ------
        Unavailable
            There is none in time; the message says why, as far as KubeRay tells.
        """
        labels = {names.RAY_CLUSTER: self._identity.object_name, names.RAY_NODE_TYPE: "head"}
        with closing(self._api.follow("Pod", self._identity.namespace, labels, seconds=seconds)) as changes:
            for pods in changes:
                head = reading.living_head(pods.values())
                if head is not None:
                    return head
        cluster = self.get()
        because = "Somebody deleted the RayCluster." if cluster is None else reading.trouble(cluster)
        raise Unavailable(f"The Ray head has no pod after {seconds:g} s. {because}".strip())

    def _await_gone(self, cluster: Object, deadline: float) -> None:
        uid = cluster["metadata"]["uid"]
        pods = {names.RAY_CLUSTER: self._identity.object_name}
        for kind, labels in (("Pod", pods), ("RayCluster", self._identity.labels)):
            left = max(1.0, deadline - time.monotonic())
            with closing(self._api.follow(kind, self._identity.namespace, labels, seconds=left)) as changes:
                gone = any(not any(reading.is_of(uid, item) for item in found.values()) for found in changes)
            if not gone:
                raise Unavailable(
                    f"The cluster {self._identity.name!r} is still ending: a {kind} is left after "
                    f"{self._patience:g} s. Stop it again to wait on."
                )

    def _is_going(self, found: Object) -> bool:
        """Tell whether an object is about to be deleted; what a former RayCluster left behind is, at any moment."""
        if reading.is_leaving(found):
            return True
        former = {reference["uid"] for reference in found["metadata"].get("ownerReferences") or []}
        cluster = self.get() if former else None
        if not former or (cluster is not None and cluster["metadata"]["uid"] in former):
            return cluster is not None and reading.is_leaving(cluster)
        self._api.delete(found)
        return True

    def _take(self, found: Object, item: Object) -> Object:
        metadata = found["metadata"]
        if found["kind"] == "RayCluster":
            # What runs stays as it was started: its pods would not change, and its owner may have set limits.
            if not found["spec"].get("suspend"):
                return found
            change = {"spec": {"suspend": False}}
            return self._api.merge("RayCluster", metadata["namespace"], metadata["name"], change)
        if found["kind"] == "Secret":
            # Pods may have started with this token.
            return found
        # The uid makes sure that it is the one that was looked at.
        return self._api.apply({**item, "metadata": {**item["metadata"], "uid": metadata["uid"]}}, force=True)


def _operations(cluster: Object, change: Change) -> Iterator[Object]:
    for index, group in enumerate(cluster["spec"].get("workerGroupSpecs") or []):
        for key, value in change(group).items():
            if group.get(key) != value:
                yield {"op": "add", "path": f"/spec/workerGroupSpecs/{index}/{key}", "value": value}
