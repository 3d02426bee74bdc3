"""``%cluster``: see, start, resize and stop your Ray clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.error import UsageError
from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from jupyter_ext.client.clusters import DEFAULT, ClusterTable
from jupyter_ext.magics._base import ClientMagics, told_plainly

if TYPE_CHECKING:
    from jupyter_ext.client import Client

_VERBS = ("status", "start", "stop", "resize")


def complete_cluster(client: Client, line: str) -> list[str]:
    """Offer the verbs, then the names of clusters, the options, and the kinds of workers."""
    given = line.split()[1:]
    if not any(verb in given for verb in _VERBS):
        return [*_VERBS, "--help"]
    clusters = client.clusters.list()
    names = [cluster.name for cluster in clusters]
    if "start" in given:
        return [*names, "--no-wait"]
    if "resize" in given:
        return [*sorted({f"{kind.name}=" for cluster in clusters for kind in cluster.kinds}), *names]
    return names


@magics_class
class ClusterMagics(ClientMagics):
    """Magics of clusters."""

    completers = {"cluster": complete_cluster}

    @magic_arguments()
    @argument("verb", nargs="?", default="status", choices=_VERBS, help="What to do. Default: status.")
    @argument("what", nargs="*", help="Which cluster (default: default; status shows all); with resize, KIND=COUNT.")
    @argument("--no-wait", action="store_true", help="With start: return at once.")
    @line_magic
    @told_plainly
    def cluster(self, line: str) -> ClusterTable:
        """See, start, resize or stop your Ray cluster.

        ::

            %cluster
            %cluster start
            %cluster resize gpu=2
            %cluster stop

        You seldom need it: the first job starts your cluster, it grows with what waits in the queue, and it stops when
        it was idle for a while. Resizing sets how many workers of a kind it may have at most, until it is stopped.
        Stopping it by hand, or taking workers away, interrupts the jobs that run there; they start again from their
        last checkpoint.
        """
        arguments = parse_argstring(self.cluster, line)
        clusters = self.client.clusters
        names = [word for word in arguments.what if "=" not in word]
        limits = [word for word in arguments.what if "=" in word]
        if len(names) > 1:
            raise UsageError(f"One cluster at a time, please, not {len(names)}.")
        if bool(limits) != (arguments.verb == "resize"):
            raise UsageError("Say how many workers of which kind, such as: %cluster resize gpu=2")
        name = names[0] if names else DEFAULT
        if arguments.verb == "resize":
            return ClusterTable([clusters.resize(name, **dict(map(_limit, limits)))])
        if arguments.verb == "start":
            try:
                return ClusterTable([clusters.start(name, wait=not arguments.no_wait)])
            except TimeoutError as error:
                raise UsageError(str(error)) from error
        if arguments.verb == "stop":
            return ClusterTable([clusters.stop(name)])
        if not names:
            return clusters.list() or ClusterTable([clusters.get()])
        return ClusterTable([clusters.get(name)])


def _limit(word: str) -> tuple[str, int]:
    kind, _, count = word.partition("=")
    if not kind or not count.isdecimal():
        raise UsageError(f"{word!r} is not KIND=COUNT, such as gpu=2.")
    return kind, int(count)
