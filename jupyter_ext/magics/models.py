"""``%models`` and ``%promote``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from jupyter_ext.magics._base import ClientMagics, told_plainly

if TYPE_CHECKING:
    from jupyter_ext.client import Client
    from jupyter_ext.client.models import Move

_WORD = re.compile(r'"[^"]*"?|\S+')
_USUAL_ALIASES = ("champion", "challenger")


def complete_models(client: Client, line: str) -> list[str]:
    """Offer the names of models."""
    return [_quoted(model.name) for model in client.models.list()]


def complete_promote(client: Client, line: str) -> list[str]:
    """Offer names, then versions, then aliases."""
    words = _WORD.findall(line)[1:]
    done = [_bare(word) for word in (words if line[-1:].isspace() else words[:-1])]
    if done and done[-1] == "--to":
        return sorted({*_USUAL_ALIASES, *_aliases(client, done[0])})
    named = [word for word in done if not word.startswith("--")]
    if not named:
        return complete_models(client, line)
    if len(named) == 1:
        versions = [str(version.version) for version in client.models.versions(named[0])]
        return versions + [f"@{alias}" for alias in _aliases(client, named[0])]
    return [option for option in ("--to", "--reason") if option not in done]


def _aliases(client: Client, name: str) -> list[str]:
    return [alias for model in client.models.list(name) if model.name == name for alias in model.aliases]


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


@magics_class
class ModelMagics(ClientMagics):
    """Magics of the model registry."""

    completers = {"models": complete_models, "promote": complete_promote}

    @magic_arguments()
    @argument("name", nargs="?", help="A model: lists its versions. Without it, all models are listed.")
    @line_magic
    @told_plainly
    def models(self, line: str) -> Any:
        """List the models of this workspace, or the versions of one.

        ::

            %models
            %models churn
        """
        arguments = parse_argstring(self.models, line)
        if arguments.name:
            return self.client.models.versions(_bare(arguments.name))
        return self.client.models.list()

    @magic_arguments()
    @argument("name", help="The model.")
    @argument("version", help="The version to promote: a number, or @alias for the version it points at now.")
    @argument("--to", dest="alias", required=True, help="The alias to move, such as champion.")
    @argument("--reason", default="", help="Why, for those who read the history.")
    @line_magic
    @told_plainly
    def promote(self, line: str) -> Move:
        """Point an alias at a version. To go back, promote the earlier version.

        ::

            %promote churn 3 --to champion --reason "better recall"
        """
        arguments = parse_argstring(self.promote, line)
        version = int(arguments.version) if arguments.version.isdecimal() else arguments.version
        return self.client.models.promote(_bare(arguments.name), version, arguments.alias, _bare(arguments.reason))


def _bare(word: str) -> str:
    """Take off the quotes that the parser of magics leaves on."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"" else word
