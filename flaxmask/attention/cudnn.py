"""Attention by cuDNN's fused kernel, through `jax.nn.dot_product_attention`."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.attention.blind import zero_blind
from flaxmask.attention.call import Call, Lowering, content_refusal
from flaxmask.attention.slots import by_slots
from flaxmask.masks import Mask
from flaxmask.masks.evaluate import evaluate
from flaxmask.tokens import Array, Tokens

LARGEST = 128
"""Head size that every supported device takes."""


def refuses(call: Call) -> str | None:
    """See `Implementation`."""
    size = call.query.shape[3]
    if call.platform != "gpu":
        return f"it is a kernel for GPUs, and this runs on {call.platform}"
    if call.query.dtype not in (jnp.float16, jnp.bfloat16):
        return f"its kernel takes float16 and bfloat16, and query is {call.query.dtype}"
    if size % 8 or size > LARGEST:
        return f"its kernel takes head sizes that are multiples of 8 up to {LARGEST}, and query has {size}"
    if call.bias is not None:
        return "the gradient of a bias is not given for every shape of it"
    if call.dropout_rate:
        return "dropout is not offered by jax.nn.dot_product_attention"
    odd = call.query.shape[1] % 2 or call.key.shape[1] % 2
    if odd and _flags(call.mask, call.query_tokens, call.key_tokens) is None:
        return f"{call.mask} needs the dense mask here, which its kernel takes at even lengths only"
    return content_refusal(call, "cudnn")


def lowering(call: Call) -> Lowering:
    """See `Lowering`."""
    flags = _flags(call.mask, call.query_tokens, call.key_tokens)
    if flags is None:
        heads = call.query.shape[2]
        parts = ((str(call.mask), "a boolean array, which the kernel adds as a bias [B, N, Q, K]"),)
        return Lowering(parts, {"mask": call.cells, "bias": 2 * call.cells * heads}, None, 5)
    names = {"is_causal": "causal", "local_window_size": "window"}
    parts = tuple((names[name], f"{name}={value}") for name, value in flags.items())
    # Flags skip by tiles of cuDNN's own choice, of about this size.
    return Lowering((("segment", "query_seq_lengths, key_value_seq_lengths"), *parts), {}, (128, 128), 5)


def cudnn(
    query: Float[Array, "B Q N H"],
    key: Float[Array, "B K M H"],
    value: Float[Array, "B K M H"],
    mask: Mask,
    query_tokens: Tokens,
    key_tokens: Tokens,
    bias: None,
    dropout_rate: float,
    dropout_rng: Array | None,
) -> Float[Array, "B Q N H"]:
    """As `reference`; what the kernel makes of queries that see nothing differs by dtype."""
    flags = _flags(mask, query_tokens, key_tokens)
    visible = evaluate(mask, query_tokens, key_tokens)
    if flags is None:
        how: dict[str, Any] = {"mask": visible}
    else:
        # A length of 0 has no softmax; the row is zeroed below.
        count = lambda tokens: jnp.maximum(jnp.sum(tokens.real, axis=1, dtype=jnp.int32), 1)
        how = {"query_seq_lengths": count(query_tokens), "key_value_seq_lengths": count(key_tokens), **flags}
    out = jax.nn.dot_product_attention(query, key, value, implementation="cudnn", **how)
    return zero_blind(out, visible)


def _flags(mask: Mask, query: Tokens, key: Tokens) -> dict[str, Any] | None:
    """The formula as lengths with these arguments, or None where the kernel cannot say exactly the same.

    Lengths mean one segment a row from slot 0, which "rows" promises. A window is given only with the causal flag:
    without it the kernel lets a left window see the future.
    """
    found = by_slots(mask, query, key)
    if found is None or found.interval is None or not query.layout == key.layout == "rows":
        return None
    least, most = found.interval
    if (least, most) == (None, None):
        return {}
    if least != 0:
        return None
    return {"is_causal": True} | ({} if most is None else {"local_window_size": (most, 0)})
