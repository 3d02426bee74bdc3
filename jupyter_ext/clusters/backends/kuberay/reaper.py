"""Ends clusters that no server keeps any more: ``python -m jupyter_ext.clusters.backends.kuberay.reaper``.

On one machine a head's keeper does so; in Kubernetes nothing of ours lives beside a head, so a CronJob runs this
(``k8s/reaper.yaml``).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

from jupyter_ext.clusters.backends.kuberay import names, reading
from jupyter_ext.clusters.backends.kuberay.access import find_access
from jupyter_ext.clusters.backends.kuberay.api import Api
from jupyter_ext.clusters.backends.kuberay.options import Object
from jupyter_ext.errors import Conflict

_ROUNDS = 3
_log = logging.getLogger(__name__)


def reap(api: Api, namespace: str | None, *, after: timedelta) -> list[str]:
    """Delete the RayClusters of ours that nobody kept for so long, and return their names.

    Parameters
    ----------
    api
        A client.
    namespace
        Where; None for everywhere.
    after
        How long nobody must have kept one.
    """
    reaped = []
    for _ in range(_ROUNDS):
        clusters, _version = api.list_all("RayCluster", namespace, {names.MANAGED_BY: names.MANAGER})
        conflicts = 0
        for cluster in clusters:
            if reading.is_leaving(cluster) or datetime.now(UTC) - kept_at(cluster) < after:
                continue
            try:
                api.delete(cluster, unchanged=True)
                reaped.append(cluster["metadata"]["name"])
            except Conflict:
                # Somebody just changed it, perhaps to keep it: look again.
                conflicts += 1
        if not conflicts:
            break
    return reaped


def kept_at(cluster: Object) -> datetime:
    """Return when a server last said that it wants a RayCluster, or else when it was made.

    Examples
    --------
    >>> kept_at({"metadata": {"annotations": {names.KEPT_AT: "2026-11-20T10:00:00Z"}}})
    datetime.datetime(2026, 11, 20, 10, 0, tzinfo=datetime.timezone.utc)
    """
    metadata = cluster["metadata"]
    return datetime.fromisoformat(
        (metadata.get("annotations") or {}).get(names.KEPT_AT) or metadata["creationTimestamp"]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run once."""
    parser = argparse.ArgumentParser(prog="reaper", description="End Ray clusters that no server keeps any more.")
    parser.add_argument("--kubeconfig", default="", help="default: the pod's service account")
    parser.add_argument("--namespace", help="default: the service account's own; '*' is all of them")
    parser.add_argument("--after", type=float, default=3600.0, help="seconds (default: 3600)")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with closing(Api(find_access(chosen.kubeconfig))) as api:
        namespace = None if chosen.namespace == "*" else chosen.namespace or api.access.namespace
        for name in reap(api, namespace, after=timedelta(seconds=chosen.after)):
            _log.info("Ended %s: no server kept it for %g s.", name, chosen.after)


if __name__ == "__main__":
    main()
