"""An LSTM over `Tokens`: the state passes padding unchanged, and starts anew with each segment.

Which token comes next is a matter of segments alone, so padding before, behind or between, and other examples in the
same row, change nothing. Two other ways, which people use, are here for comparison: see `RecurrentConfig.masking`.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from flaxmask.attention.additive import additive_attention
from flaxmask.attention.interactive import decoder_input, interactive_attention
from flaxmask.tokens import EMPTY, Array, Tokens

State = tuple[Array, Array]
"""Hidden state and cell of an LSTM, `[B, H]` each, or at every slot `[B, T, H]`."""


class Carry(NamedTuple):
    """What a recurrence hands from slot to slot.

    Attributes:
      state: of the segment that was read last.
      segment: its number, `[B]`; EMPTY before the first slot.
      fed: what attention feeds into the next slot, `[B, F]`.
    """

    state: State
    segment: Int[Array, "B"]
    fed: Float[Array, "B F"]

    @classmethod
    def empty(cls, batch: int, hidden: int, fed: int = 0) -> "Carry":
        """Before the first slot."""
        zeros = jnp.zeros((batch, hidden))
        return cls((zeros, zeros), jnp.full((batch,), EMPTY, jnp.int32), jnp.zeros((batch, fed)))


class Read(NamedTuple):
    """A memory that is read slot by slot.

    Attributes:
      memory: the encoder's output, `[B, S, D]`.
      visible: which positions each slot may read, `[B, T, S]`.
    """

    memory: Float[Array, "B S D"]
    visible: Bool[Array, "B T S"]


def enters(masking: str, segment: Int[Array, "B"], before: Int[Array, "B"]) -> tuple[Bool[Array, "B 1"], ...]:
    """Whether a slot starts from its own initial state, and whether it changes the state at all."""
    if masking == "hold":
        real = segment > 0
        return (real & (segment != before))[:, None], real[:, None]
    return (before == EMPTY)[:, None], jnp.ones_like(segment, bool)[:, None]


def lstm(gates: Float[Array, "B F"], cell: Float[Array, "B H"]) -> State:
    """The LSTM's update from the sum of its inputs' products: gates i, f, g, o (Hochreiter & Schmidhuber 1997, with
    the forget gate of Gers et al. 2000), as `nn.OptimizedLSTMCell` has them.
    """
    write, keep, new, show = jnp.split(gates, 4, axis=-1)
    cell = nn.sigmoid(keep) * cell + nn.sigmoid(write) * nn.tanh(new)
    return nn.sigmoid(show) * nn.tanh(cell), cell


def choose(which: Bool[Array, "B 1"], new: State, old: State) -> State:
    """Rows of `new` where `which`, of `old` elsewhere."""
    return jnp.where(which, new[0], old[0]), jnp.where(which, new[1], old[1])


def gate_kernel(rng: Array, shape: tuple[int, int], dtype=jnp.float32) -> Float[Array, "H F"]:
    """Orthogonal for each of the four gates, as Linen's cells are initialised."""
    one = nn.initializers.orthogonal()
    parts = [one(key, (shape[0], shape[1] // 4), dtype) for key in jax.random.split(rng, 4)]
    return jnp.concatenate(parts, axis=1)


class Recurrence(nn.Module):
    """One direction of one layer.

    The products of the inputs are taken of all slots at once; only those of the state are taken slot by slot.

    Attributes:
      hidden: width of the state.
      masking: see `RecurrentConfig`.
      reverse: whether rows are read from their end.
      attention: "additive" or "interactive", inside the recurrence; "none" reads nothing.
      gate: see `RecurrentConfig`.
      input_bias: see `RecurrentConfig`.
    """

    hidden: int
    masking: str = "hold"
    reverse: bool = False
    attention: str = "none"
    gate: str = "sigmoid"
    input_bias: str = "outside"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        tokens: Tokens,
        initial: State | None = None,
        carry: Carry | None = None,
        read: Read | None = None,
    ) -> tuple[Float[Array, "B T H"], Float[Array, "B T H"], Float[Array, "B T C"], Carry]:
        """Hidden states and cells of every slot, what each has read, and what goes on to the slot behind the last.

        Args:
          x: inputs.
          tokens: of the inputs.
          initial: for each slot `[B, T, H]`, what its segment starts from; None are zeros.
          carry: of the slots before these; None where there are none.
          read: the memory, where there is attention.
        """
        batch, length, width = x.shape
        if self.masking == "inputs":
            x = x * tokens.real[..., None].astype(x.dtype)
        inputs = nn.Dense(4 * self.hidden, name="input")(x)
        kernel = self.param("state_kernel", gate_kernel, (self.hidden, 4 * self.hidden))
        zeros = jnp.zeros((batch, length, self.hidden), inputs.dtype)
        initial = (zeros, zeros) if initial is None else initial
        before, after, fed = self._reader(width, read)
        visible = jnp.ones((batch, length, 0), bool) if read is None else read.visible
        carry = Carry.empty(batch, self.hidden, fed) if carry is None else carry

        def advance(carry: Carry, slot):
            gates, segment, start, visible = slot
            starts, changes = enters(self.masking, segment, carry.segment)
            state, fed = choose(starts, start, carry.state), jnp.where(starts, 0.0, carry.fed)
            more, fed = before(state[0], fed, visible)
            state = choose(changes, lstm(gates + state[0] @ kernel + more, state[1]), carry.state)
            fed, seen = after(state[0], fed, visible)
            fed = jnp.where(changes, fed, carry.fed)
            return Carry(state, jnp.where(changes[:, 0], segment, carry.segment), fed), (state, seen)

        slots = jax.tree.map(time_first, (inputs, tokens.segments, initial, visible))
        carry, out = jax.lax.scan(advance, carry, slots, reverse=self.reverse)
        (hidden, cells), seen = jax.tree.map(time_first, out)
        return hidden, cells, seen, carry

    def _reader(self, width: int, read: Read | None) -> tuple[Callable, Callable, int]:
        """What happens before and after the update of a state, and the width of what is fed into it.

        `before(hidden, fed, visible)` gives what is added to the gates, and what was read; `after` what is fed into
        the next slot, and what was read.
        """
        if read is None:
            nothing = lambda hidden, fed, visible: (0.0, fed)
            return nothing, lambda hidden, fed, visible: (fed, fed), 0
        memory, hidden = read.memory, self.hidden
        size = memory.shape[-1]
        init = nn.initializers.lecun_normal()
        matrix = lambda name, *shape: self.param(name, init, shape)
        if self.attention == "additive":
            query, into = matrix("query", hidden, hidden), matrix("context_kernel", size, 4 * hidden)
            key = memory @ matrix("key", size, hidden)
            scale = self.param("scale", nn.initializers.normal(hidden**-0.5), (hidden,))

            def attend(state, _, visible):
                context = additive_attention(state @ query, key, memory, visible, scale)
                return context @ into, context

            return attend, lambda state, context, visible: (context, context), size
        # W_a of the sources, as its two halves.
        query, key = matrix("gate_state", hidden, size), memory @ matrix("gate_memory", size, size)
        kernel = matrix("decoder_input", hidden + size, width)
        bias = self.param("decoder_input_bias", nn.initializers.zeros, (width,))
        into = matrix("decoder_input_kernel", width, 4 * hidden)

        def interact(state, _, visible):
            seen = interactive_attention(state @ query, key, memory, visible, self.gate)
            return decoder_input(state, seen, kernel, bias, self.input_bias), seen

        return lambda state, fed, visible: (fed @ into, fed), interact, width


def time_first(x: Array) -> Array:
    """Axes of rows and slots exchanged."""
    return jnp.swapaxes(jnp.asarray(x), 0, 1)


def ends(reader: Tokens, read: Tokens, masking: str, first: bool = False) -> Bool[Array, "B T S"]:
    """Which slot of `read` each slot of `reader` takes the final state of: where its segment ends, or begins.

    Where the state goes through padding, a row has one end: its last slot, or its first.
    """
    slots = jnp.arange(read.shape[1], dtype=jnp.int32)[None, None]
    own = jnp.ones((*reader.shape, read.shape[1]), bool)
    if masking == "hold":
        own = (reader.segments[:, :, None] == read.segments[:, None]) & reader.real[:, :, None]
    order = -slots if first else slots
    return own & (order == jnp.max(jnp.where(own, order, -read.shape[1]), axis=-1, keepdims=True))


def final_states(
    states: Float[Array, "B S H"], reader: Tokens, read: Tokens, masking: str, first: bool = False
) -> Float[Array, "B T H"]:
    """For each slot of `reader`, the state that its segment of `read` ended with; zeros where it has none."""
    # A product, since the gradient of a gather is a scatter, which CPUs do one number after the other.
    return jnp.asarray(ends(reader, read, masking, first), states.dtype) @ states


def recurrence_mask(tokens: Tokens, masking: str, reverse: bool = False) -> Bool[np.ndarray, "B T T"]:
    """Which slots the state of each slot knows, for the audit."""
    slots = np.arange(tokens.shape[1])
    before = slots[None] <= slots[:, None]
    before = before.T if reverse else before
    segments = np.asarray(tokens.segments)
    if masking != "hold":
        return np.broadcast_to(before, (len(segments), *before.shape))
    # On padding stands the state of the segment that was read last.
    held = _held(segments[:, ::-1])[:, ::-1] if reverse else _held(segments)
    return before & (held[:, :, None] == segments[:, None]) & (segments > 0)[:, None]


def _held(segments: Int[np.ndarray, "B T"]) -> Int[np.ndarray, "B T"]:
    """At each slot the segment of the last real one."""
    slots = np.arange(segments.shape[1])
    last = np.maximum.accumulate(np.where(segments > 0, slots, 0), axis=1)
    return np.take_along_axis(segments, last, axis=1)
