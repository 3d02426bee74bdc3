"""Clusters on Kubernetes: one RayCluster a cluster, run by the KubeRay operator. docs/kubernetes.md tells how."""

from jupyter_ext.clusters.backends.kuberay.backend import KubeRayBackend

__all__ = ["KubeRayBackend"]
