"""Routes of clusters."""

from __future__ import annotations

from jupyter_ext.clusters.environment import Environment
from jupyter_ext.clusters.values import Cluster, ClusterQuery, ClusterSize
from jupyter_ext.server.routing import Call, route
from jupyter_ext.values import Page


@route("GET", "/clusters", resource="clusters", tracks_activity=False)
def list_clusters(call: Call, query: ClusterQuery) -> Page[Cluster]:
    """List your clusters that were started once, newest first."""
    return call.workspace.clusters.list(query, owner=call.user)


@route("GET", "/clusters/{name}", resource="clusters", tracks_activity=False)
def get_cluster(call: Call, name: str) -> Cluster:
    """Return a cluster of yours. Everybody has the one called ``default``; its first job starts it."""
    return call.workspace.clusters.get(call.user, name)


@route("POST", "/clusters/{name}/start", resource="clusters")
def start_cluster(call: Call, name: str) -> Cluster:
    """Begin to start a cluster, unless it runs. Events tell when it is ready, or why it is not."""
    return call.workspace.clusters.start(call.user, name)


@route("POST", "/clusters/{name}/stop", resource="clusters")
def stop_cluster(call: Call, name: str) -> Cluster:
    """Stop a cluster and everything that runs in it. The answer comes when nothing of it is left."""
    return call.workspace.clusters.stop(call.user, name)


@route("PUT", "/clusters/{name}/size", resource="clusters")
def resize_cluster(call: Call, name: str, body: ClusterSize) -> Cluster:
    """Set how many workers of some kinds a running cluster may have at most. It holds until the cluster is stopped."""
    return call.workspace.clusters.resize(call.user, name, body)


@route("GET", "/clusters/{name}/environment", resource="clusters", tracks_activity=False)
def get_cluster_environment(call: Call, name: str) -> Environment:
    """Return what is installed in a cluster's Python."""
    return call.workspace.clusters.environment(call.user, name)
