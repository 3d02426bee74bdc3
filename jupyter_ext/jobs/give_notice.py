"""Tells the jobs whose drivers run on this machine that it goes: ``python -m jupyter_ext.jobs.give_notice``.

What a pod of a cluster runs before it ends. Ray itself tells only Ray Train's workers, and others when it is too late.
"""

from __future__ import annotations

import argparse

import psutil

_RUNNER = ["-m", "jupyter_ext.jobs.runner"]


def main(arguments: list[str] | None = None) -> None:
    """Send SIGTERM to every runner that this process sees; it gives the notice to the user's code."""
    parser = argparse.ArgumentParser(prog="python -m jupyter_ext.jobs.give_notice", description=__doc__)
    parser.add_argument("--below", type=int, metavar="PID", help="only to runners that this process started")
    below = parser.parse_args(arguments).below
    seen = psutil.process_iter() if below is None else psutil.Process(below).children(recursive=True)
    told = 0
    for process in seen:
        try:
            if process.cmdline()[1:3] == _RUNNER:
                process.terminate()
                told += 1
        except psutil.Error:
            continue  # it has ended, or is none of ours
    print(f"{told} job{'' if told == 1 else 's'} told to stop.")


if __name__ == "__main__":
    main()
