"""Labels: votes of functions, models and people, and what follows from them.

Everything a user needs is importable from here. Names load when first used, so that the server, which imports
``jupyter_ext.labeling.service`` and ``.values``, loads neither pandas nor scipy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_ext.labeling import builders
    from jupyter_ext.labeling.analysis import conflicting_rows, lf_summary
    from jupyter_ext.labeling.annotators import annotator_quality
    from jupyter_ext.labeling.applier import LFApplier
    from jupyter_ext.labeling.dependencies import find_correlated
    from jupyter_ext.labeling.end_model import train_end_model
    from jupyter_ext.labeling.functions import labeling_function
    from jupyter_ext.labeling.label_errors import find_label_errors
    from jupyter_ext.labeling.models.selection import fit_label_model
    from jupyter_ext.labeling.multilabel import fit_multilabel_model, multilabel_agreement
    from jupyter_ext.labeling.prompts import prompt_function
    from jupyter_ext.labeling.quality import agreement
    from jupyter_ext.labeling.selecting import select
    from jupyter_ext.labeling.sequences import fit_sequence_model
    from jupyter_ext.labeling.spans import span_agreement, span_f1
    from jupyter_ext.labeling.suggestions import suggest_functions
    from jupyter_ext.labeling.votes import ABSTAIN, VoteMatrix

__all__ = [
    "ABSTAIN",
    "LFApplier",
    "VoteMatrix",
    "agreement",
    "annotator_quality",
    "builders",
    "conflicting_rows",
    "find_correlated",
    "find_label_errors",
    "fit_label_model",
    "fit_multilabel_model",
    "fit_sequence_model",
    "labeling_function",
    "lf_summary",
    "multilabel_agreement",
    "prompt_function",
    "select",
    "span_agreement",
    "span_f1",
    "suggest_functions",
    "train_end_model",
]

_HOMES = {
    "ABSTAIN": "votes",
    "LFApplier": "applier",
    "VoteMatrix": "votes",
    "agreement": "quality",
    "annotator_quality": "annotators",
    "conflicting_rows": "analysis",
    "find_correlated": "dependencies",
    "find_label_errors": "label_errors",
    "fit_label_model": "models.selection",
    "fit_multilabel_model": "multilabel",
    "fit_sequence_model": "sequences",
    "labeling_function": "functions",
    "lf_summary": "analysis",
    "multilabel_agreement": "multilabel",
    "prompt_function": "prompts",
    "select": "selecting",
    "span_agreement": "spans",
    "span_f1": "spans",
    "suggest_functions": "suggestions",
    "train_end_model": "end_model",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "builders":
        return import_module(f"{__name__}.builders")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
