import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import Tokens
from flaxmask.answers import GREEDY, at_once, search_of
from flaxmask.data.vocabulary import BOS, EOS
from flaxmask.models.config import MaskConfig
from flaxmask.tokens import Batch
from tests import toy

LENGTH = 12
# A tied output projection would repeat its input for ever at random weights.
UNTIED = {"tie_logits": False}


def noisy(params, end=3.0):
    """Far from initialisation, so that the outputs differ from word to word, and end now and then."""
    rng = np.random.default_rng(0)

    def shake(p):
        scale = 1.0 if p.ndim == 2 and p.shape[0] in toy.SIZES else 0.6
        return np.asarray(p) + rng.normal(0, scale, p.shape).astype(np.float32)

    params = jax.tree.map(shake, params)
    params["params"]["head"]["bias"][EOS] += end
    return params


@functools.partial(jax.jit, static_argnums=0)
def without_cache(model, params, source):
    """Greedy decoding that computes the whole target anew at every step."""
    rows = source.shape[0]

    def extend(i, written):
        shifted = jnp.concatenate([jnp.full((rows, 1), BOS, jnp.int32), written[:, :-1]], axis=1)
        slots = jnp.broadcast_to(jnp.arange(LENGTH, dtype=jnp.int32)[None], written.shape)
        target = Tokens(shifted, jnp.ones_like(shifted), slots, None, "rows")
        best = jnp.argmax(model.apply(params, Batch(source, target)), axis=-1).astype(jnp.int32)
        ended = (written == EOS).any(axis=1)
        return written.at[:, i].set(jnp.where(ended, 0, best[:, i]))

    return jax.lax.fori_loop(0, LENGTH, extend, jnp.zeros((rows, LENGTH), jnp.int32))


@pytest.mark.parametrize(
    ("name", "config", "masks"),
    [
        ("pre, two layers", UNTIED | {"encoder_layers": 2, "decoder_layers": 2}, MaskConfig()),
        pytest.param(
            "post, learned", UNTIED | {"norm": "post", "positions": "learned"}, MaskConfig(), marks=pytest.mark.slow
        ),
        ("window", UNTIED, MaskConfig(decoder="causal & segment & window(3)")),
        pytest.param(
            "sees everything",
            UNTIED,
            MaskConfig(decoder="causal", cross="segment & window(2, 2)"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_cache_changes_no_token_of_500_words(name, config, masks):
    config = dataclasses.replace(toy.CONFIG, **config)
    model, params = toy.model(config, masks), toy.params(config, masks)
    params = noisy(params)
    (batch,) = toy.batches(toy.examples(500), "static", 500)
    cached = at_once(model, search_of(GREEDY, LENGTH), params, batch.source)
    np.testing.assert_array_equal(cached, without_cache(model, params, batch.source))
    assert len(np.unique(cached, axis=0)) > 50, "outputs that do not differ would prove nothing"
    assert (np.asarray(cached) == EOS).any()


def test_after_the_end_there_is_padding():
    config = dataclasses.replace(toy.CONFIG, **UNTIED)
    model, params = toy.model(config), noisy(toy.params(config))
    (batch,) = toy.batches(toy.examples(500), "static", 500)
    for ids in np.asarray(at_once(model, search_of(GREEDY, LENGTH), params, batch.source)).tolist():
        if EOS in ids:
            assert not any(ids[ids.index(EOS) + 1 :])


def test_a_prefix_may_be_read_at_once():
    """Three tokens in one step leave the same cache and logits as one by one."""
    model, params = toy.model(), toy.params()
    (batch,) = toy.batches(toy.examples(4), "static", 4)
    start = jax.jit(lambda: model.apply(params, batch.source, LENGTH, method="start"))
    take = lambda a, b: jax.tree.map(lambda x: jnp.asarray(x)[:, a:b], dataclasses.replace(batch.target, layout="any"))
    step = jax.jit(lambda cache, tokens: model.apply(params, cache, tokens, method="step"))
    at_once, cache = step(start(), take(0, 3))
    slow = start()
    for i in range(3):
        logits, slow = step(slow, take(i, i + 1))
        np.testing.assert_allclose(logits[:, 0, 1:], at_once[:, i, 1:], atol=1e-5)
    for left, right in zip(jax.tree.leaves(cache), jax.tree.leaves(slow), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_one_step_is_a_row_of_the_whole():
    """In a prefix-LM too, whose flags the cache must keep."""
    formula = MaskConfig(decoder="segment & (causal | prefix)")
    model, params = toy.model(masks=formula), toy.params(masks=formula)
    (batch,) = toy.batches(toy.examples(4), "static", 4)
    flagged = dataclasses.replace(batch.target, prefix=batch.target.positions < 3)
    batch = dataclasses.replace(batch, target=flagged)
    whole = jax.jit(model.apply)(params, batch)

    @jax.jit
    def prefill():
        cache = model.apply(params, batch.source, LENGTH, method="start")
        return model.apply(params, cache, dataclasses.replace(batch.target, layout="any"), method="step")

    logits, _ = prefill()
    real = batch.target.real
    np.testing.assert_allclose(logits[real][:, 1:], whole[real][:, 1:], atol=1e-5)
