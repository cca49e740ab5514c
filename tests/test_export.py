"""A Transformer in CTranslate2's format answers as it does here."""

import dataclasses

import numpy as np
import pytest

from flaxmask.answers import longest_target
from flaxmask.data.config import DataConfig
from flaxmask.data.tasks import load_task
from flaxmask.decoding.config import DecodingConfig
from flaxmask.export import to_ctranslate2
from flaxmask.models.config import MaskConfig, RecurrentConfig, TransformerConfig
from flaxmask.models.recurrent import RecurrentEncoderDecoder
from flaxmask.models.transformer import Transformer
from flaxmask.names import Refused
from flaxmask.translate import Translator
from tests import toy

# CI installs CTranslate2, which is no dependency, before the slow tests.
pytestmark = pytest.mark.slow

CONFIG = TransformerConfig(d_model=32, d_ffn=48, heads=2, encoder_layers=2, decoder_layers=1)
TEXTS = ["cat", "abandon", "zebra", "oh"]


@pytest.fixture(scope="module")
def task():
    return load_task(DataConfig(name="cmudict", train_examples=64, evaluation_examples=8))


def translator(task, config=CONFIG, masks=toy.PLAIN, kind=Transformer) -> Translator:
    model = kind(config, masks, *task.sizes)
    params = toy.drawn(model, toy.batches(task.evaluation, "static", 4)[0])
    return Translator(task, model, params, DecodingConfig(), 30)


@pytest.mark.parametrize(
    "changes",
    [{"norm": "post"}, {"norm": "pre", "positions": "learned", "max_positions": 64, "tie_logits": False}],
    ids=["post, sinusoidal, tied", "pre, learned, untied"],
)
def test_it_answers_as_ours_does(changes, task, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    ours = translator(task, dataclasses.replace(CONFIG, **changes))
    to_ctranslate2(ours, tmp_path / "model")
    theirs = ctranslate2.Translator(str(tmp_path / "model"), compute_type="float32", intra_threads=1)
    pieces = task.source_vocabulary.pieces
    read = [[pieces[i] for i in task.source_vocabulary.encode(text)[:-1]] for text in TEXTS]
    # Greedy: which hypotheses a beam search lets go is another matter.
    how = {"beam_size": 1, "max_decoding_length": longest_target(task), "min_decoding_length": 0}
    how["return_scores"] = True
    for [answer], found in zip(ours.translate(TEXTS), theirs.translate_batch(read, **how), strict=True):
        np.testing.assert_allclose(answer.score, found.scores[0], rtol=1e-4)
        assert answer.text == " ".join(found.hypotheses[0])


def test_what_it_cannot_express_is_refused(task, tmp_path):
    pytest.importorskip("ctranslate2")

    def refusal(*args) -> str:
        with pytest.raises(Refused) as found:
            to_ctranslate2(translator(task, *args), tmp_path)
        return str(found.value)

    assert "mask.encoder='segment & window(2, 2)': CTranslate2 knows 'segment' alone" in refusal(
        CONFIG, MaskConfig(encoder="segment & window(2, 2)")
    )
    assert "model.mask_form=literal" in refusal(dataclasses.replace(CONFIG, mask_form="literal"))
    shared = dataclasses.replace(CONFIG, encoder_layers=1, share_layers=True)
    assert "model.share_layers" in refusal(shared)
    assert "only a Transformer" in refusal(RecurrentConfig(8, 6), toy.PLAIN, RecurrentEncoderDecoder)
    (tmp_path / "mine").write_text("")
    assert "is not empty: name a new folder" in refusal()
