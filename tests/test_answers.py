"""What a model writes: in stages as at once."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import answers
from flaxmask.data.vocabulary import EOS
from flaxmask.decoding.config import DecodingConfig
from tests import toy

LENGTH = 11
SOURCES = toy.batches(toy.examples(40, longest=8), "static", 40)[0].source


@dataclasses.dataclass(frozen=True)
class Ending:
    """A model that ends each answer after as many tokens as the first id of its source says."""

    model: Any

    def apply(self, params, *args, method):
        out = self.model.apply(params, *args, method=method)
        if method == "start":
            return out
        logits, cache = out
        first = cache.source.ids.reshape(logits.shape[0], -1)[:, 0] % LENGTH
        ends = args[1].positions >= first[:, None]
        return logits.at[..., EOS].add(jnp.where(ends, 50.0, -50.0)), cache


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    "config", [toy.CONFIG, pytest.param(toy.RECURRENT, marks=pytest.mark.slow)], ids=["Transformer", "LSTM"]
)
def test_stages_change_no_answer(config, beams, monkeypatch):
    """Caches grow twice, and rows are let go twice: 40, 10, 2."""
    monkeypatch.setattr(answers, "STEPS", 3)
    monkeypatch.setattr(answers, "LARGE", 8)
    seen = []
    go_on = answers._go_on
    monkeypatch.setattr(answers, "_go_on", lambda *args: seen.append((args[5].last.shape[0], args[2])) or go_on(*args))
    model, params = Ending(toy.model(config)), toy.params(config)
    search = answers.search_of(DecodingConfig(beams=beams), LENGTH)
    found = answers.in_stages(model, search, params, SOURCES)
    whole = answers.at_once(model, search, params, SOURCES)
    for ours, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(whole), strict=True):
        if ours.dtype == np.int32:
            np.testing.assert_array_equal(ours, wanted)
        else:
            np.testing.assert_allclose(ours, wanted, rtol=1e-5)
    ids = found if beams == 1 else found.ids[:, 0]
    ends = {int(np.argmax(row == EOS)) if EOS in row else LENGTH for row in ids}
    assert len(ends) > 3, "answers of several lengths"
    assert {rows for rows, _ in seen} >= {40, 10}, "some were let go"
    assert {until for _, until in seen} >= {3, 6}, "caches have grown"


def test_every_source_is_answered_in_its_place(monkeypatch):
    monkeypatch.setattr(answers, "LARGE", 8)
    model, params = Ending(toy.model()), toy.params()
    sources = [np.asarray(SOURCES.ids[i])[np.asarray(SOURCES.real[i])] for i in range(20)]

    class OfTask:
        train = toy.examples(4)

    together = answers.write(OfTask, model, params, sources, DecodingConfig())
    for source, ids in list(zip(sources, together, strict=True))[::7]:
        [alone] = answers.write(OfTask, model, params, [source], DecodingConfig())
        np.testing.assert_array_equal(ids, alone)
