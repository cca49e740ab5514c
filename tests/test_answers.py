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


class Lengths:
    """What is asked of a task: how long its targets are."""

    def __init__(self, data):
        self.train = self.evaluation = data


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

    task: Any = Lengths(toy.examples(4))
    together = answers.write(task, model, params, sources, DecodingConfig())
    for source, ids in list(zip(sources, together, strict=True))[::7]:
        [alone] = answers.write(task, model, params, [source], DecodingConfig())
        np.testing.assert_array_equal(ids, alone)


def test_what_is_drawn_for_a_source_depends_on_its_number_and_the_seed_alone(monkeypatch):
    data = toy.examples(12, longest=6)
    sources = [data.source[i] for i in range(12)]
    drawn = lambda few, seed: answers.draw(
        Lengths(data), toy.model(), toy.params(), few, DecodingConfig(temperature=1.0, samples=3), seed
    )
    whole, again, other = drawn(sources, 5), drawn(sources, 5), drawn(sources, 6)
    monkeypatch.setattr(answers, "TOKENS", 20)
    apart = drawn(sources, 5)
    assert [ids.shape for ids in whole] == [(3, 8)] * 12
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(whole, other, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(whole, apart, strict=True)), "in several batches"
    assert len({ids.tobytes() for of in whole for ids in of}) > 20, "samples differ"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 5}, "set temperature too"),
        ({"temperature": 1.0, "beams": 2}, "samples are drawn without beams, got 2 beams"),
        ({"samples": 1}, "expected at least 2, which are compared, got 1"),
    ],
)
def test_ways_of_decoding_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DecodingConfig(**settings)
