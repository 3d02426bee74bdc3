"""Which letters must a text hold, if a regular expression is to match in it?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

#: Python's own parser. It is not public, so where it has gone nothing is known and every text is searched.
_parser: Any = getattr(re, "_parser", None)

#: More alternatives than this take longer to look for than to search.
_MOST = 6

Choice = frozenset[str]


def needed_literals(pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Return texts of which every match holds at least one, in lower case where case is ignored; empty if unknown.

    Examples
    --------
    >>> needed_literals(re.compile(r"(^| )(call|text) (me|us)"))
    ('call', 'text')
    >>> needed_literals(re.compile(r"\\w+"))
    ()
    """
    if _parser is None:
        return ()
    best = _best(_needed(_parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)))
    if best is None or len(best) > _MOST:
        return ()
    if pattern.flags & re.IGNORECASE:
        if not all(part.isascii() for part in best):
            return ()
        best = frozenset(part.lower() for part in best)
    return tuple(sorted(best))


def _needed(parsed: Iterable[Any]) -> list[Choice]:
    """Return sets of texts; of each set, every match holds one."""
    found: list[Choice] = []
    run = ""
    for name, argument in parsed:
        if str(name) == "LITERAL":
            run += chr(argument)
            continue
        if run:
            found.append(frozenset({run}))
            run = ""
        found += _inside(str(name), argument)
    return [*found, frozenset({run})] if run else found


def _inside(name: str, argument: Any) -> list[Choice]:
    if name == "SUBPATTERN":
        _, added, removed, parsed = argument
        # Case may matter inside and not outside, or the other way round.
        return [] if added or removed else _needed(parsed)
    if name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
        least, _, parsed = argument
        return _needed(parsed) if least else []
    if name == "ATOMIC_GROUP":
        return _needed(argument)
    if name == "BRANCH":
        ways = [_best(_needed(way)) for way in argument[1]]
        known = [way for way in ways if way is not None]
        return [frozenset().union(*known)] if len(known) == len(ways) else []
    return []


def _best(choices: list[Choice]) -> Choice | None:
    # A rare text is passed over most often; the longer, the rarer.
    return max(choices, key=lambda choice: (min(map(len, choice)), -len(choice)), default=None)
