"""Static padding against dynamic per-batch masks, buckets and packing."""

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

_SMALL = TransformerConfig(d_model=128, d_ffn=256, heads=4, encoder_layers=2, decoder_layers=2, dropout=0.0)

EXPERIMENT = Experiment(
    name="padding",
    title="What does padding cost, and does the layout of a batch change what is learnt?",
    rows={layout: {"data.layout": layout} for layout in ("static", "dynamic", "bucketed", "packed")},
    scales={
        "smoke": Config(
            DataConfig(length=24, train_examples=256, batch_examples=64, evaluation_examples=64, shapes=2),
            model=TransformerConfig(d_model=32, d_ffn=64, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0),
        ),
        "quick": Config(
            DataConfig(length=32, train_examples=60_000, batch_examples=128, evaluation_examples=2_000),
            model=_SMALL,
            training=TrainingConfig(learning_rate=2e-3, schedule="cosine"),
        ),
        "paper": Config(
            DataConfig(),
            model=TransformerConfig(d_model=256, d_ffn=1024, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.2),
            training=TrainingConfig(epochs=60, warmup_steps=4_000),
        ),
    },
    expected={
        "smoke": "under 45 s on two cores; nothing is learnt",
        "quick": "about 5 minutes on two cores; PER 16.6, 16.5, 17.5, 16.9 % in the rows' order (untrained: 100 %), "
        "packed and bucketed some 3 times the real tokens a second of static",
        "paper": "60 epochs of the whole corpus at 4+4 layers of width 256: an accelerator's work; not run yet",
    },
    columns=(
        "real_token_fraction",
        "real_tokens_per_second",
        "step_milliseconds",
        "compile_count",
        "compile_seconds",
        "peak_memory_bytes",
        "loss",
        "per",
        "wer",
        "bleu",  # as chrF, of translations alone: pairs of one's own
        "chrf",
        "leaks",
        "dead",
        "nan_outputs",
        "batch_drift",
    ),
)
