"""Multi30k, English to German: the Transformer-Tiny that others published, static, bucketed and packed."""

import dataclasses

from flaxmask.data.config import DataConfig
from flaxmask.decoding.config import DecodingConfig
from flaxmask.experiment import Config, Experiment
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

_TINY = TransformerConfig(
    d_model=128,
    d_ffn=256,
    heads=4,
    encoder_layers=4,
    decoder_layers=4,
    dropout=0.3,
    norm="post",
    share_embeddings=True,
)

EXPERIMENT = Experiment(
    name="multi30k",
    title="Does a small Transformer translate as well as published, whatever the layout of its batches?",
    # As many examples an update in every row (bucketed: on average), so equal epochs are all but equal updates.
    rows={
        "bucketed": {"data.layout": "bucketed"},
        "packed": {"data.layout": "packed"},
        "static": {"data.layout": "static"},
    },
    scales={
        "smoke": Config(
            DataConfig(
                name="multi30k/en-de-tok",
                vocabulary_size=400,
                length=24,
                shapes=2,
                train_examples=128,
                batch_examples=64,
                evaluation_examples=16,
            ),
            TransformerConfig(
                d_model=32, d_ffn=64, heads=2, encoder_layers=1, decoder_layers=1, norm="post", share_embeddings=True
            ),
            training=TrainingConfig(average_epochs=1),
            decoding=DecodingConfig(beams=2),
        ),
        "quick": Config(
            DataConfig(
                name="multi30k/en-de-tok",
                vocabulary_size=4000,
                length=48,
                shapes=2,
                train_examples=10_000,
                batch_examples=128,
            ),
            dataclasses.replace(_TINY, encoder_layers=1, decoder_layers=1, dropout=0.1),
            training=TrainingConfig(epochs=3, learning_rate=5e-3, warmup_steps=100, average_epochs=1),
            decoding=DecodingConfig(beams=5),
        ),
        # 8,192 tokens an update are some 585 sentences, end marks included.
        "paper": Config(
            DataConfig(name="multi30k/en-de-tok", vocabulary_size=10_000, batch_examples=585),
            _TINY,
            training=TrainingConfig(
                epochs=100,
                learning_rate=5e-3,
                warmup_steps=2_000,
                epsilon=1e-8,
                clip_norm=25.0,
                average_epochs=10,
                checkpoint_every=100,
                curve_every=250,
            ),
            decoding=DecodingConfig(beams=5),
        ),
    },
    seeds={"smoke": 1, "quick": 1, "paper": 1},
    columns=(
        *("real_tokens_per_second", "updates", "train_seconds", "loss"),
        *("tokenised_bleu", "bleu", "chrf", "leaks", "batch_drift"),
    ),
    published={row: {"tokenised_bleu": "41.02"} for row in ("bucketed", "packed", "static")},
    published_by="Wu et al. 2021, Transformer-Tiny, Test2016",
    expected={
        "smoke": "some 15 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "4 minutes on two cores; tokenised BLEU 16.6, 17.2, 16.8 % in the rows' order; packed "
        "rows see 1.8 times the real tokens a second of static ones",
        "paper": "5.5 hours (bucketed) on two cores that other work shared: tokenised BLEU 40.3, published 41.02",
    },
)
