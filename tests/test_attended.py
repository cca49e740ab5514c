"""What a model is shown to attend to is what it attends to."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from flaxmask import Tokens
from flaxmask.attended import SPARE, attended
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.stack import Stack
from flaxmask.tokens import Batch
from tests import toy


class Pieces(list):
    """A vocabulary of numbered pieces."""

    @property
    def pieces(self):
        return self


TASK = SimpleNamespace(
    source_vocabulary=Pieces(f"s{i}" for i in range(17)), target_vocabulary=Pieces(f"t{i}" for i in range(19))
)


def look(config, masks=toy.PLAIN, layout="static"):
    batch = toy.batches(toy.examples(5), layout, 5)[0]
    return batch, attended(TASK, toy.model(config, masks), toy.params(config, masks), batch)


@pytest.mark.parametrize("layout", ["static", "packed"])
def test_every_attention_of_a_transformer_is_there_with_its_mask(layout):
    batch, found = look(toy.DEEP, layout=layout)
    names = [f"{side}_{i}/{kind}_attention" for side, kind in (("encoder", "self"),) for i in range(2)]
    names += [f"decoder_{i}/{kind}_attention" for i in range(2) for kind in ("cross", "self")]
    assert sorted(one["name"] for one in found["maps"]) == sorted(names)
    masks = toy.PLAIN
    for one in found["maps"]:
        part = "cross" if one["query"] != one["key"] else {"source": "encoder", "target": "decoder"}[one["query"]]
        query, key = getattr(batch, one["query"]), getattr(batch, one["key"])
        wanted = np.asarray(masks.formula(part)(query, key))[:, 0]
        for row, tokens in enumerate(found["rows"]):
            weights, visible = np.array(one["weights"][row]), np.array(one["visible"][row])
            size = len(tokens[one["query"]]), len(tokens[one["key"]])
            assert weights.shape == (2, *size)
            np.testing.assert_array_equal(visible, wanted[row, : size[0], : size[1]])
            assert (weights[:, visible == 0] == 0).all()
            # Thousandths, rounded: a few are lost on the way.
            sums = weights.sum(axis=-1)[:, visible.any(axis=-1)]
            assert (abs(sums - 1000) <= size[1]).all()
            assert weights.max() > 0


def test_tokens_are_named_up_to_a_little_padding():
    batch, found = look(toy.CONFIG)
    real = int(batch.source.real[0].sum())
    shown = found["rows"][0]["source"]
    assert shown[:real] == [f"s{i}" for i in batch.source.ids[0][:real]]
    assert shown[real:] == ["s0"] * min(SPARE, batch.source.shape[1] - real)


def test_shared_layers_are_told_apart_by_what_they_read():
    _, found = look(dataclasses.replace(toy.CONFIG, share_layers=True))
    flows = {one["name"]: (one["query"], one["key"]) for one in found["maps"]}
    assert flows == {
        "decoder_0/self_attention, source": ("source", "source"),
        "decoder_0/self_attention, target": ("target", "target"),
        "decoder_0/cross_attention": ("target", "source"),
    }


def test_a_form_shows_its_own_weights():
    """Weights that are multiplied by the mask do not sum to 1."""
    _, found = look(dataclasses.replace(toy.CONFIG, mask_form="multiplied"), MaskConfig())
    [own] = [one for one in found["maps"] if one["name"] == "decoder_0/self_attention"]
    assert (np.array(own["weights"][0])[:, 0].sum(axis=-1) < 950).all(), "the first sees one of several"
    _, leaking = look(dataclasses.replace(toy.CONFIG, mask_form="none"))
    one = leaking["maps"][0]
    assert any(np.array(w)[:, np.array(v) == 0].any() for w, v in zip(one["weights"], one["visible"], strict=True))


def test_of_recurrent_models_the_attention_alone():
    _, found = look(dataclasses.replace(toy.RECURRENT, attention="dot"))
    assert [(one["name"], one["query"], one["key"]) for one in found["maps"]] == [("attention", "target", "source")]
    assert look(toy.RECURRENT)[1] is None


def test_a_pooled_query_is_shown():
    config = TransformerConfig(
        d_model=8, d_ffn=8, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0, pooling="query"
    )
    model = Stack(config, toy.PLAIN, 17, 19, "source", True)
    batch = Batch(Tokens.of(np.array([[5, 6, 7, 0, 0]], np.int32)))
    found = attended(TASK, model, toy.drawn(model, batch), batch)
    assert [one["name"] for one in found["maps"]] == ["layers_0/self_attention", "pool/attention"]
    assert np.array(found["maps"][1]["weights"][0]).shape == (2, 5, 5)


def test_looking_changes_nothing():
    model, params = toy.model(), toy.params()
    [batch] = toy.batches(toy.examples(5), "static", 5)
    seen, _ = jax.jit(lambda p: model.apply(p, batch, mutable=["attention"]))(params)
    np.testing.assert_allclose(seen, jax.jit(model.apply)(params, batch), atol=1e-6)
    assert set(model.init(jax.random.PRNGKey(0), batch)) == {"params"}
