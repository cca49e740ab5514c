"""The audit: which input reached which output, against what the masks declare."""

from flaxmask.audit.drift import Drift, Example, drift
from flaxmask.audit.flat import flat_scores
from flaxmask.audit.flow import Attends, Reach, by_layer, closure
from flaxmask.audit.layers import Layers, linen_trace
from flaxmask.audit.measure import check
from flaxmask.audit.padding import PaddingReport, padding
from flaxmask.audit.report import AuditReport, Dead, Leak

__all__ = [
    "Attends",
    "AuditReport",
    "Dead",
    "Drift",
    "Example",
    "Layers",
    "Leak",
    "PaddingReport",
    "Reach",
    "by_layer",
    "check",
    "closure",
    "drift",
    "flat_scores",
    "linen_trace",
    "padding",
]
