"""``%drift``."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from jupyter_ext.errors import NotFound
from jupyter_ext.magics._base import ClientMagics, told_plainly
from jupyter_ext.monitoring.methods import METHODS

if TYPE_CHECKING:
    from jupyter_ext.client import Client
    from jupyter_ext.monitoring import DriftReport
    from jupyter_ext.monitoring.values import StoredProfile

_OPTIONS = {
    "--alpha": (),
    "--method": METHODS,
    "--correction": ("bh", "by", "bonferroni", "none"),
    "--save": (),
    "--model": (),
}


def complete_drift(client: Client, line: str) -> list[str]:
    """Offer an option's values, names of stored profiles, and options; the kernel offers variables itself."""
    words = line.split()[1:]
    done = words if line[-1:].isspace() else words[:-1]
    if done and done[-1] in _OPTIONS:
        if done[-1] == "--model":
            return [f"{model.name}/@{alias}" for model in client.models.list() for alias in model.aliases]
        return list(_OPTIONS[done[-1]])
    free = [option for option in _OPTIONS if option not in done]
    if len([word for word in done if not word.startswith("--")]) < 2:
        names = dict.fromkeys(profile.name for profile in client.monitors.profiles())
        return [f'"{name}"' if " " in name else name for name in names] + free
    return free


@magics_class
class MonitorMagics(ClientMagics):
    """Magics of monitoring."""

    completers = {"drift": complete_drift}

    @magic_arguments()
    @argument(
        "reference",
        help="What to compare with: a variable (frame or Profile), the name of a stored profile, or a model version "
        "such as churn/3 or churn/@champion, which stands for its training data.",
    )
    @argument("current", help="What came later: the same.")
    @argument("--alpha", type=float, default=0.05, help="The share of false alarms to allow (default 0.05).")
    @argument("--method", choices=_OPTIONS["--method"], help="The test for every feature that it suits.")
    @argument("--correction", choices=_OPTIONS["--correction"], default="bh", help="Over features (default bh).")
    @argument("--save", metavar="NAME", help="Keep the report under this name.")
    @argument("--model", metavar="NAME/VERSION", help="With --save: the model version that the report is about.")
    @line_magic
    @told_plainly
    def drift(self, line: str) -> DriftReport:
        """Say which features moved between two frames or profiles.

        ::

            %drift training today
            %drift churn-training today --save daily --model churn/@champion
            %drift churn/@champion today
        """
        from jupyter_ext.monitoring import drift

        arguments = parse_argstring(self.drift, line)
        if arguments.model and not arguments.save:
            raise UsageError("--model says what a kept report is about: give --save NAME too.")
        reference, stored = self._side(arguments.reference)
        current, _ = self._side(arguments.current)
        report = drift(reference, current, arguments.alpha, arguments.correction, arguments.method)
        if arguments.save:
            name, model = _bare(arguments.save), _bare(arguments.model) if arguments.model else None
            self.client.monitors.save_report(name, report, model=model, profile=stored)
            print(f"Kept as drift report {name!r}" + (f" of {model}." if model else "."))
        return report

    def _side(self, word: str) -> tuple[Any, StoredProfile | None]:
        """Return the frame or profile that a word names, and its record when it is a stored one."""
        variables, name = self.variables, _bare(word)
        if name in variables:
            return variables[name], None
        try:
            stored = self._of_version(name) or self.client.monitors.find_profile(name)
        except NotFound:
            raise UsageError(self._unknown(name)) from None
        return self.client.monitors.profile(stored), stored

    def _of_version(self, name: str) -> StoredProfile | None:
        """Return the newest profile of a model version, where the word names one."""
        model, slash, version = name.partition("/")
        if not slash or not version:
            return None
        number = self.client.models.get(model, int(version) if version.isdigit() else version).version
        profiles = self.client.monitors.profiles(model=f"{model}/{number}")
        if not profiles:
            raise UsageError(f"No profile is kept with {model} version {number}.")
        newest: StoredProfile = profiles[0]
        return newest

    def _unknown(self, name: str) -> str:
        frames = [key for key, value in self.variables.items() if not key.startswith("_") and _comparable(value)]
        near = difflib.get_close_matches(name, {*frames, *(p.name for p in self.client.monitors.profiles())})
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        return f"There is neither a variable nor a stored profile {name!r}.{hint}"


def _comparable(value: Any) -> bool:
    from jupyter_ext.monitoring import Profile

    return isinstance(value, Profile) or hasattr(value, "to_pandas") or type(value).__name__ == "DataFrame"


def _bare(word: str) -> str:
    """Take off the quotes that the parser of magics leaves on."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"" else word
