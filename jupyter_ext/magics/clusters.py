"""``%cluster``: see, start and stop your Ray clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from jupyter_ext.client.clusters import DEFAULT, ClusterTable
from jupyter_ext.magics._base import ClientMagics, told_plainly

if TYPE_CHECKING:
    from jupyter_ext.client import Client

_VERBS = ("status", "start", "stop")


def complete_cluster(client: Client, line: str) -> list[str]:
    """Offer the verbs, then the names of clusters and the options."""
    given = line.split()[1:]
    if not any(verb in given for verb in _VERBS):
        return [*_VERBS, "--help"]
    return [*(cluster.name for cluster in client.clusters.list()), *(["--no-wait"] if "start" in given else [])]


@magics_class
class ClusterMagics(ClientMagics):
    """Magics of clusters."""

    completers = {"cluster": complete_cluster}

    @magic_arguments()
    @argument("verb", nargs="?", default="status", choices=_VERBS, help="What to do. Default: status.")
    @argument("name", nargs="?", help="Which cluster. Default: default; status shows all.")
    @argument("--no-wait", action="store_true", help="With start: return at once.")
    @line_magic
    @told_plainly
    def cluster(self, line: str) -> ClusterTable:
        """See, start or stop your Ray cluster.

        ::

            %cluster
            %cluster start
            %cluster stop

        You seldom need it: the first job starts your cluster, and it stops when it was idle for a while. Stopping it
        by hand interrupts the jobs that run in it; they start again from their last checkpoint.
        """
        arguments = parse_argstring(self.cluster, line)
        clusters = self.client.clusters
        name = arguments.name or DEFAULT
        if arguments.verb == "start":
            return ClusterTable([clusters.start(name, wait=not arguments.no_wait)])
        if arguments.verb == "stop":
            return ClusterTable([clusters.stop(name)])
        if arguments.name is None:
            return clusters.list() or ClusterTable([clusters.get()])
        return ClusterTable([clusters.get(name)])
