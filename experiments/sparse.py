"""Sparse patterns of a causal language model: what quality costs, WikiText-2."""

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment, Part
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

_PATTERNS = {
    "full": "causal & segment",
    "window of 4": "causal & segment & window(4)",
    "window of 16": "causal & segment & window(16)",
    "strided by 4, window of 4": "causal & segment & (strided(4) | window(4))",
    "dilated, 8 by 4": "causal & segment & dilated(8, 4)",
    "global 4 + window of 8": "causal & segment & (global_tokens(4) | window(8))",
    "random blocks + window of 8": "causal & segment & (random_blocks(8, 2) | window(8))",
    "top 4 by content": "causal & segment & by(causal_top_4)",
    "top 16 by content": "causal & segment & by(causal_top_16)",
}

EXPERIMENT = Experiment(
    name="sparse",
    title="How much quality do sparse patterns keep, for how much of attention's arithmetic?",
    rows={row: {"mask.decoder": formula} for row, formula in _PATTERNS.items()},
    scales={
        "smoke": Config(
            DataConfig(
                name="wikitext2/rebuilt",
                task="lm",
                length=32,
                shapes=1,
                train_examples=60,
                evaluation_examples=20,
                batch_examples=32,
                vocabulary_size=1000,
            ),
            model=TransformerConfig(d_model=32, d_ffn=64, heads=2, decoder_layers=1, dropout=0.0),
            visible_flops=True,
        ),
        "quick": Config(
            DataConfig(
                name="wikitext2/rebuilt",
                task="lm",
                layout="static",
                length=96,
                train_examples=1_500,
                evaluation_examples=300,
                batch_examples=32,
                vocabulary_size=1000,
            ),
            model=TransformerConfig(d_model=64, d_ffn=128, heads=4, decoder_layers=2, dropout=0.0, attention="xla"),
            training=TrainingConfig(learning_rate=4e-3, warmup_steps=20, schedule="cosine", label_smoothing=0.0),
            visible_flops=True,
        ),
        "paper": Config(
            DataConfig(name="wikitext2", task="lm", length=512, vocabulary_size=8000, batch_examples=32),
            model=TransformerConfig(d_model=512, d_ffn=2048, heads=8, decoder_layers=6, dropout=0.1),
            training=TrainingConfig(epochs=40, learning_rate=1e-3, warmup_steps=1_000, label_smoothing=0.0),
            visible_flops=True,
        ),
    },
    parts=(
        Part(
            "Patterns of a causal language model",
            tuple(_PATTERNS),
            ("visible_flops", "step_milliseconds", "updates", "loss", "accuracy", "leaks", "batch_drift"),
            front=("visible_flops", "loss"),
        ),
    ),
    seeds={"smoke": 1, "quick": 5, "paper": 3},
    published_by="first: no published table of all of these beside each other was found",
    notes=(
        "attention FLOP: the two products of the cells that have a weight, in 32 texts; what a kernel that skips cells "
        "one by one would compute, not what was timed: the step computes every cell here",
    ),
    expected={
        "smoke": "some 10 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "6 minutes on two cores, more on slow ones; loss 5.028 (full), 5.039 (global 4 + window "
        "of 8), 5.091 (window of 4)",
        "paper": "an accelerator's work; not run yet",
    },
)
