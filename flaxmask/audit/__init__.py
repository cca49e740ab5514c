"""The audit: which input reached which output, against what the masks declare."""

from flaxmask.audit.drift import Drift, drift
from flaxmask.audit.flow import Attends, by_layer, closure
from flaxmask.audit.measure import Layers, check, linen_trace
from flaxmask.audit.padding import PaddingReport, padding
from flaxmask.audit.report import AuditReport, Dead, Leak

__all__ = [
    "Attends",
    "AuditReport",
    "Dead",
    "Drift",
    "Layers",
    "Leak",
    "PaddingReport",
    "by_layer",
    "check",
    "closure",
    "drift",
    "linen_trace",
    "padding",
]
