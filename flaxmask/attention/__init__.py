"""Attention over mask formulas."""

from flaxmask.attention.dispatch import IMPLEMENTATIONS, dot_product_attention
from flaxmask.attention.explain import explain
from flaxmask.attention.module import KeyValue, MultiHeadAttention

__all__ = ["IMPLEMENTATIONS", "KeyValue", "MultiHeadAttention", "dot_product_attention", "explain"]
