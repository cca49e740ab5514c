"""Quality by the length of a word, in every layout: letters to phonemes."""

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

EXPERIMENT = Experiment(
    name="lengths",
    title="Are long examples learnt as well in every layout?",
    rows={layout: {"data.layout": layout} for layout in ("static", "dynamic", "bucketed", "packed")},
    scales={
        "smoke": Config(
            DataConfig(length=24, train_examples=256, batch_examples=64, evaluation_examples=64, shapes=1),
            model=TransformerConfig(d_model=32, d_ffn=64, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0),
        ),
        "quick": Config(
            DataConfig(length=24, train_examples=12_000, batch_examples=64, evaluation_examples=2_000, shapes=2),
            model=TransformerConfig(d_model=64, d_ffn=128, heads=4, encoder_layers=2, decoder_layers=2, dropout=0.0),
            training=TrainingConfig(learning_rate=4e-3, schedule="cosine"),
        ),
        "paper": Config(
            DataConfig(name="multi30k/en-de", vocabulary_size=10_000, batch_examples=128),
            model=TransformerConfig(
                d_model=128, d_ffn=256, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.3, share_embeddings=True
            ),
            training=TrainingConfig(epochs=40, learning_rate=5e-3, warmup_steps=2_000),
        ),
    },
    columns=("real_token_fraction", "updates", "loss", "per", "wer", "bleu", "chrf", "leaks", "batch_drift"),
    seeds={"smoke": 1, "quick": 5, "paper": 3},
    published_by="first: no published table was found",
    notes=("the score of each length stands in figures/by_length.png",),
    expected={
        "smoke": "under 45 s on two cores; nothing is learnt",
        "quick": "4 minutes on two cores; PER 32.4, 32.2, 33.3, 32.3 % in the rows' order",
        "paper": "an accelerator's work; not run yet",
    },
)
