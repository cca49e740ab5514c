"""Interactive attention (system B of the sources): gates instead of weights, and a decoder input made of both sides.

With h_t the decoder's state and c_s the encoder's output at position s:

    gate_ts            = σ(W_a · [h_t ; c_s])                      no bias
    masked c_ts        = c_s ⊙ mask_ts                             1 = may be read
    read_t             = mean over readable s of gate_ts ⊙ masked c_ts
    decoder_input_t+1  = tanh(W_di · [h_t ; read_t]) + b_di        the bias outside; decoder_input_0 = 0

The sources leave open how the gated positions become one vector; the mean over those that may be read does not depend
on how many there are.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from flaxmask.tokens import Array


def masked_memory(memory: Float[Array, "B S D"], visible: Bool[Array, "B S"]) -> Float[Array, "B S D"]:
    """`c ⊙ mask`, the mask in floats.

    >>> memory = np.array([[[1.0], [2.0], [3.0]]], np.float32)  # c_1, c_2, c_3
    >>> masked_memory(memory, np.array([[False, True, False]]))[0, :, 0].tolist()
    [0.0, 2.0, 0.0]
    """
    return memory * visible.astype(memory.dtype)[..., None]


def interactive_attention(
    query: Float[Array, "B D"],
    key: Float[Array, "B S D"],
    memory: Float[Array, "B S D"],
    visible: Bool[Array, "B S"],
    gate: str = "sigmoid",
) -> Float[Array, "B D"]:
    """What is read of the memory: the mean of the visible positions, each through its gate.

    Args:
      query: `h_t` through its half of W_a.
      key: the memory through the other half.
      memory: the encoder's output.
      visible: which positions may be read at this step; where none may, the result is zeros.
      gate: "sigmoid"; or "softmax", weights over the visible positions of each channel, which sum to 1.
    """
    if gate == "softmax":
        scores = jnp.where(visible[..., None], query[:, None] + key, jnp.finfo(key.dtype).min)
        return jnp.sum(jax.nn.softmax(scores, axis=1) * masked_memory(memory, visible), axis=1)
    gates = jax.nn.sigmoid(query[:, None] + key)
    count = jnp.maximum(jnp.sum(visible, axis=-1, keepdims=True), 1).astype(memory.dtype)
    return jnp.sum(gates * masked_memory(memory, visible), axis=1) / count


def decoder_input(
    state: Float[Array, "B H"],
    read: Float[Array, "B D"],
    kernel: Float[Array, "F E"],
    bias: Float[Array, "E"],
    where: str = "outside",
) -> Float[Array, "B E"]:
    """`tanh(W_di · [h ; c]) + b_di`, where W_di is `kernel`, of H + D rows; with the bias inside of the tanh too."""
    product = jnp.concatenate([state, read], axis=-1) @ kernel
    return jnp.tanh(product) + bias[None] if where == "outside" else jnp.tanh(product + bias[None])
