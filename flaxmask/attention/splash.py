"""Attention by jax's Splash kernel for TPUs (Pallas); interpreted on other devices, for tests."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as lazy
from jaxtyping import Bool, Float

from flaxmask.attention.blind import zero_blind
from flaxmask.attention.call import Call, Lowering, content_refusal, up_to
from flaxmask.attention.slots import BySlots, by_slots, cells
from flaxmask.masks import And, Mask
from flaxmask.masks.evaluate import evaluate
from flaxmask.tokens import Array, Tokens

LANES = 128
"""Lengths and head sizes are padded to multiples of this."""


def refuses(call: Call) -> str | None:
    """See `Implementation`."""
    if call.platform not in ("tpu", "cpu"):
        return f"it is a kernel for TPUs (on CPU it is interpreted), and this runs on {call.platform}"
    if call.bias is not None:
        return "its kernel has no bias"
    if call.dropout_rate:
        return "its kernel has no dropout"
    return content_refusal(call, "splash")


def lowering(call: Call) -> Lowering:
    """See `Lowering`."""
    queries, keys = (up_to(x.shape[1], LANES) for x in (call.query, call.key))
    blocks = _block(queries), _block(keys)
    found = _found(call.mask, call.query_tokens, call.key_tokens)
    if found is None:
        parts = ((str(call.mask), "a boolean array, of which blocks with something visible are read"),)
        return Lowering(parts, {"mask": call.query.shape[0] * call.query.shape[2] * queries * keys}, blocks, 5)
    if not found.terms:
        rest = ()
    else:
        rest = ((str(_joined(found)), "a range, computed in the kernel" if found.interval else "tables of its blocks"),)
    return Lowering((("segment", "segment ids, compared in the kernel"), *rest), {}, blocks, 5)


def splash(
    query: Float[Array, "B Q N H"],
    key: Float[Array, "B K M H"],
    value: Float[Array, "B K M H"],
    mask: Mask,
    query_tokens: Tokens,
    key_tokens: Tokens,
    bias: None,
    dropout_rate: float,
    dropout_rng: Array | None,
    interpret: bool | None = None,
) -> Float[Array, "B Q N H"]:
    """As `reference`."""
    interpret = jax.default_backend() != "tpu" if interpret is None else interpret
    length, size = query.shape[1], query.shape[3]
    q, k, v = (_padded(x) for x in (query * size**-0.5, key, value))
    found = _found(mask, query_tokens, key_tokens)
    visible = evaluate(mask, query_tokens, key_tokens)
    if found is None:
        out = _dense(q, k, v, visible[:, 0], interpret)
    else:
        out = _lazy(q, k, v, found, query_tokens, key_tokens, interpret)
    return zero_blind(out.transpose(0, 2, 1, 3)[:, :length, :, :size], visible)


def _found(mask: Mask, query: Tokens, key: Tokens) -> BySlots | None:
    """See `by_slots`; a mask that hides everything at these lengths is left to run time: the kernel compiles none."""
    found = by_slots(mask, query, key)
    if found is None or not found.terms:
        return found
    seen = _SlotMask((query.shape[1], key.shape[1]), _joined(found))
    starts = range(0, query.shape[1], LANES)
    return found if any(seen[start : start + LANES, :].any() for start in starts) else None


def _padded(x: Array) -> Array:
    """Heads before time, whole lanes."""
    short = [(0, 0), (0, -x.shape[1] % LANES), (0, 0), (0, -x.shape[3] % LANES)]
    return jnp.pad(x, short).transpose(0, 2, 1, 3)


def _block(length: int) -> int:
    return next(block for block in (512, 256, LANES) if length % block == 0)


def _kernel(mask: Any, queries: int, keys: int, interpret: bool) -> Any:
    q, k = _block(queries), _block(keys)
    sizes = kernels.BlockSizes(q, k, k, q, k, k, q, k)
    # Typed as one that may return what its backward pass needs too, which it does only if asked.
    return kernels.make_splash_mha(mask, block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret)


def _dense(
    q: Float[Array, "B N Q L"],
    k: Float[Array, "B M K L"],
    v: Float[Array, "B M K L"],
    visible: Bool[Array, "B q k"],
    interpret: bool,
) -> Float[Array, "B N Q L"]:
    """Any mask, as an array that is known at run time."""
    heads, queries, keys = q.shape[1], q.shape[2], k.shape[2]
    visible = jnp.pad(visible, ((0, 0), (0, queries - visible.shape[1]), (0, keys - visible.shape[2])))

    def one(q, k, v, visible):
        kernel = _kernel(jnp.broadcast_to(visible, (heads, queries, keys)), queries, keys, interpret)
        for name in ("fwd_mask_info", "dq_mask_info", "dkv_mask_info"):
            # A flag that only names the profile's scope; it is made an array, which Python cannot read under `jit`.
            info = getattr(kernel, name)
            setattr(kernel, name, info._replace(is_dynamic_mask=None) if hasattr(info, "is_dynamic_mask") else info)
        return kernel(q, k, v)

    return jax.vmap(one)(q, k, v, visible)


def _lazy(
    q: Float[Array, "B N Q L"],
    k: Float[Array, "B M K L"],
    v: Float[Array, "B M K L"],
    found: BySlots,
    query_tokens: Tokens,
    key_tokens: Tokens,
    interpret: bool,
) -> Float[Array, "B N Q L"]:
    """`segment` as segment ids, the rest as a mask over slots that is known when the program is compiled."""
    shape = q.shape[2], k.shape[2]
    if not found.terms:
        mask: lazy.Mask = lazy.FullMask(shape)
    elif found.interval is not None:
        least, most = found.interval
        mask = lazy.LocalMask(shape, (most, None if least is None else -least), 0)
    else:
        mask = _SlotMask(shape, _joined(found))
    kernel = _kernel(lazy.MultiHeadMask([mask] * q.shape[1]), *shape, interpret)
    # Slots beyond the tokens are padding, seen by padding alone, which is zeroed.
    pad = lambda tokens, length: jnp.pad(tokens.segments, ((0, 0), (0, length - tokens.shape[1])))
    ids = pad(query_tokens, shape[0]), pad(key_tokens, shape[1])
    return jax.vmap(lambda q, k, v, *ids: kernel(q, k, v, kernels.SegmentIds(*ids)))(q, k, v, *ids)


def _joined(found: BySlots) -> Mask:
    return found.terms[0] if len(found.terms) == 1 else And(found.terms)


class _SlotMask(lazy.Mask):
    """A formula of positions read on slots, a block at a time."""

    def __init__(self, shape: tuple[int, int], mask: Mask):
        self._shape, self.mask = shape, mask

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        query, key = (np.arange(*s.indices(n), dtype=np.int32) for s, n in zip(index, self.shape, strict=True))
        return np.broadcast_to(cells(self.mask, query[:, None], key[None]), (len(query), len(key)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SlotMask) and (self.shape, self.mask) == (other.shape, other.mask)

    def __hash__(self) -> int:
        return hash((self.shape, self.mask))
