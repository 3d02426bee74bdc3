"""Watch data move: profiles of frames, and drift between two of them.

Names load on first use, so that the server can read `jupyter_ext.monitoring.values` without importing pandas.

Examples
--------
>>> import pandas as pd
>>> from jupyter_ext.monitoring import drift
>>> before, after = pd.DataFrame({"size": range(100)}), pd.DataFrame({"size": range(50, 150)})
>>> drift(before, after).drifted
['size']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_ext.monitoring.compare import drift
    from jupyter_ext.monitoring.outliers import OutlierDetector, fit_outlier_detector
    from jupyter_ext.monitoring.over_time import drift_over_time
    from jupyter_ext.monitoring.performance import estimate_performance
    from jupyter_ext.monitoring.profile import Profile
    from jupyter_ext.monitoring.report import DriftReport
    from jupyter_ext.monitoring.streams import StreamDetector
    from jupyter_ext.monitoring.values import (
        AlertmanagerRoute,
        DriftCheck,
        JupyterRoute,
        MetricCheck,
        OutlierCheck,
        QualityCheck,
        WebhookRoute,
    )

_HOMES = {
    "AlertmanagerRoute": "values",
    "DriftCheck": "values",
    "DriftReport": "report",
    "JupyterRoute": "values",
    "MetricCheck": "values",
    "OutlierCheck": "values",
    "OutlierDetector": "outliers",
    "Profile": "profile",
    "QualityCheck": "values",
    "StreamDetector": "streams",
    "WebhookRoute": "values",
    "drift": "compare",
    "drift_over_time": "over_time",
    "estimate_performance": "performance",
    "fit_outlier_detector": "outliers",
}

__all__ = [
    "AlertmanagerRoute",
    "DriftCheck",
    "DriftReport",
    "JupyterRoute",
    "MetricCheck",
    "OutlierCheck",
    "OutlierDetector",
    "Profile",
    "QualityCheck",
    "StreamDetector",
    "WebhookRoute",
    "drift",
    "drift_over_time",
    "estimate_performance",
    "fit_outlier_detector",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{home}"), name)
