"""One update, as a pure function, and its compiled forms over several devices."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import jax_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from flaxmask.tokens import Array, Batch
from flaxmask.training.flops import count_flops
from flaxmask.training.loss import cross_entropy

Apply = Callable[[Any, Batch, Array], Any]
"""Parameters, a batch and a dropout key to logits `[B, T, V]`."""


class TrainState(NamedTuple):
    """All that an update reads and writes.

    Attributes:
      step: int32 scalar, updates done.
      params: the model's parameters.
      opt_state: the optimiser's.
      rng: key from which each update's dropout key is derived.
    """

    step: Array
    params: Any
    opt_state: Any
    rng: Array

    @classmethod
    def create(cls, params: Any, optimizer: optax.GradientTransformation, seed: int) -> "TrainState":
        """Before the first update."""
        # One program, where eager zeros would be one for each shape.
        opt_state = jax.jit(optimizer.init)(params)
        return cls(jnp.zeros((), jnp.int32), params, opt_state, jax.random.PRNGKey(seed))


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    apply: Apply,
    optimizer: optax.GradientTransformation,
    label_smoothing: float,
    axis: str | None = None,
    gather: Callable[[Any], Any] = lambda params: params,
) -> tuple[TrainState, dict[str, Array]]:
    """One update. The loss is a sum over real tokens, divided once by their number over all devices.

    Where the loss or the gradients' norm is no finite number, parameters and optimiser stay as they were.

    Args:
      state: before the update.
      batch: the global batch, or under pmap this device's part of it.
      apply: the model.
      optimizer: of `state.opt_state`.
      label_smoothing: see `cross_entropy`.
      axis: pmap's axis name; None where the compiler sees the global batch.
      gather: what the model reads of the parameters, where each device has a part of them; its transpose parts the
        gradients.

    Returns:
      The state after the update, and `loss` in nats a token, `tokens`, `gradient_norm`, and whether both are `finite`.
    """
    rng = jax.random.fold_in(state.rng, state.step)
    if axis is not None:
        rng = jax.random.fold_in(rng, jax.lax.axis_index(axis))

    def total_loss(params):
        return cross_entropy(apply(gather(params), batch, rng), batch.labels, batch.weights, label_smoothing)

    (total, count), gradients = jax.value_and_grad(total_loss, has_aux=True)(state.params)
    if axis is not None:
        total, count, gradients = jax.lax.psum((total, count, gradients), axis)
    count = jnp.maximum(count, 1.0)  # a batch of padding alone changes nothing
    gradients = jax.tree.map(lambda g: g / count, gradients)
    norm = optax.global_norm(gradients)
    finite = jnp.isfinite(total) & jnp.isfinite(norm)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    new, old = (optax.apply_updates(state.params, updates), opt_state), (state.params, state.opt_state)
    # Not `where`, which the compiler fuses into the update, whose sums are then rounded in another order.
    params, opt_state = jax.lax.cond(finite, lambda new, _: new, lambda _, old: old, new, old)
    metrics = {"loss": total / count, "tokens": count, "gradient_norm": norm, "finite": finite}
    return TrainState(state.step + 1, params, opt_state, state.rng), metrics


class CompiledStep:
    """An update compiled once for each shape of batch, over the devices of all processes.

    Attributes:
      devices: of all of them, in the order in which they share the rows of a batch.
      together: whether all processes must take part where the state is fetched.
      compile_count: programs compiled.
      compile_seconds: spent on tracing and compiling them.
      compile_cached: how many of them came from jax's persistent cache, and so cost little.
      peak_memory_bytes: of the largest program: arguments, outputs and temporaries, a device.
      flops: of all updates done, over all devices; see `count_flops`.
    """

    def __init__(self, step: Callable, parallel: str = "jit", devices: list | None = None, shard: bool = False):
        """`step` is `train_step` with everything but state, batch, axis and gather filled in.

        With `shard` each device keeps a part of the parameters and of what the optimiser knows of each, and gathers the
        parameters anew for every update (ZeRO, Rajbhandari et al. 2020); under jit alone.
        """
        self._sharded = shard
        self.devices = devices or jax.devices()
        self._shared = any(device.process_index != jax.process_index() for device in self.devices)
        self.together = shard and self._shared
        self._pmapped = parallel == "pmap" and not self._shared
        if self._pmapped:
            step = functools.partial(step, axis="data")
            self._function = jax.pmap(step, axis_name="data", devices=self.devices, donate_argnums=0)
        else:
            mesh = jax.make_mesh((len(self.devices),), ("data",), devices=self.devices, axis_types=(AxisType.Auto,))
            if self._shared:  # each process has its rows of a batch, so the devices keep their order
                mesh = Mesh(np.array(self.devices), ("data",), axis_types=(AxisType.Auto,))
            whole, split = PartitionSpec(), PartitionSpec("data")
            if parallel == "pmap":  # which takes and gives the arrays of one process: what it is made of takes all's
                step = functools.partial(step, axis="data")
                step = jax.shard_map(step, mesh=mesh, in_specs=(whole, split), out_specs=whole, check_vma=False)
            self._replicated, self._split = NamedSharding(mesh, whole), NamedSharding(mesh, split)
            if shard:  # the state comes in as `place` has put it
                self._function = jax.jit(self._parted(step), donate_argnums=0)
            else:
                self._function = jax.jit(
                    step,
                    in_shardings=(self._replicated, self._split),
                    out_shardings=self._replicated,
                    donate_argnums=0,
                )
        self._compiled: dict[Any, Any] = {}
        self.compile_count, self.compile_seconds, self.compile_cached, self.peak_memory_bytes = 0, 0.0, 0, 0
        self.flops = 0.0
        if shard:
            self._whole = jax.jit(lambda tree: tree, out_shardings=self._replicated)

    def place(self, state: TrainState) -> TrainState:
        """The state on every device, or on each its part."""
        if self._pmapped:
            return jax_utils.replicate(state, self.devices)
        if self._sharded:
            put = lambda x, home: jax.make_array_from_callback(x.shape, home, lambda index: x[index])
            return jax.tree.map(put, state := jax.tree.map(np.array, state), self.homes(state))
        if self._shared:
            return self._spread(jax.tree.map(np.array, state), self._replicated)
        # A copy: the step donates its input, which may be the caller's.
        return jax.device_put(state, self._replicated, may_alias=False)

    def fetch(self, state: Any) -> Any:
        """The state as one copy; of several processes, in each one's own memory."""
        if self._sharded:
            state = self._whole(state)
        if self._shared:
            return jax.tree.map(lambda x: np.array(x.addressable_data(0)), state)
        return jax.tree.map(lambda x: x[0], state) if self._pmapped else state

    def homes(self, tree: Any) -> Any:
        """Where each array of a state lies: of a sharded one, parted along the longest axis that the devices share
        evenly.
        """

        def home(x) -> NamedSharding:
            axes = [axis for axis, size in enumerate(x.shape) if size % len(self.devices) == 0 and self._sharded]
            longest = max(axes, key=lambda axis: x.shape[axis], default=None)
            spec = ["data" if axis == longest else None for axis in range(x.ndim)]
            return NamedSharding(self._replicated.mesh, PartitionSpec(*spec))

        return jax.tree.map(home, tree)

    def _parted(self, step: Callable) -> Callable:
        """The update of a state of which each device has a part."""
        constrain = jax.lax.with_sharding_constraint

        @jax.custom_vjp
        def gather(params):
            return constrain(params, self._replicated)

        gather.defvjp(
            lambda params: (gather(params), None), lambda _, gradients: (constrain(gradients, self.homes(gradients)),)
        )

        def update(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
            state, metrics = step(state, batch, gather=gather)
            return constrain(state, self.homes(state)), constrain(metrics, self._replicated)

        return update

    @staticmethod
    def _spread(tree: Any, sharding: NamedSharding) -> Any:
        """What each process has, as arrays of all of them."""
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        """One update of a placed state by a batch of NumPy arrays, which holds this process's rows."""
        batch = self._place_batch(batch)
        leaves, treedef = jax.tree.flatten(batch)
        key = (treedef, tuple(leaf.shape for leaf in leaves))
        if key not in self._compiled:
            self._compiled[key] = self._compile(state, batch), count_flops(self._function, state, batch)
        compiled, flops = self._compiled[key]
        state, metrics = compiled(state, batch)
        self.flops += flops
        return state, self.fetch(metrics)

    def lower(self, state: TrainState, batch: Batch) -> jax.stages.Lowered:
        """The program of an update, not compiled yet; arguments as in a call, or shapes of them."""
        return self._function.lower(state, self._place_batch(batch))

    def _place_batch(self, batch: Batch) -> Batch:
        if self._pmapped:
            count = len(self.devices)
            split = lambda x: np.reshape(x, (count, x.shape[0] // count, *x.shape[1:]))
            return jax.tree.map(split, batch)
        if self._shared:
            return self._spread(batch, self._split)
        return jax.device_put(batch, self._split)

    def _compile(self, state: TrainState, batch: Batch):
        jax.block_until_ready(state)  # what still runs is not compiling
        start = time.perf_counter()
        hits = _CacheHits.count
        compiled = self._function.lower(state, batch).compile()
        self.compile_seconds += time.perf_counter() - start
        self.compile_cached += _CacheHits.count > hits
        self.compile_count += 1
        self.peak_memory_bytes = max(self.peak_memory_bytes, _memory(compiled))
        return compiled


class _CacheHits:
    """Programs read from the persistent cache by this process."""

    count = 0

    @classmethod
    def listen(cls, event: str, **_):
        cls.count += event == "/jax/compilation_cache/cache_hits"


jax.monitoring.register_event_listener(_CacheHits.listen)


def _memory(compiled) -> int:
    """Bytes that a program holds at once; what it gives back in place of a donated argument counts once."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    return int(
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )
