"""Outputs that never end or say the same again, by form of applying a mask: letters to phonemes."""

from experiments._forms import BESIDE, NOTES
from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

EXPERIMENT = Experiment(
    name="loops",
    title="Which forms of a mask make a decoder that does not end, or repeats itself?",
    rows=BESIDE,
    scales={
        "smoke": Config(
            DataConfig(layout="static", length=24, train_examples=256, batch_examples=64, evaluation_examples=64),
            TransformerConfig(d_model=32, d_ffn=64, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0),
        ),
        "quick": Config(
            DataConfig(
                layout="dynamic",
                shapes=1,
                length=24,
                train_examples=12_000,
                batch_examples=64,
                evaluation_examples=1_000,
            ),
            TransformerConfig(d_model=64, d_ffn=128, heads=4, encoder_layers=1, decoder_layers=1, dropout=0.0),
            training=TrainingConfig(learning_rate=4e-3, schedule="cosine"),
        ),
        "paper": Config(
            DataConfig(name="multi30k/en-de", layout="static", vocabulary_size=10_000, batch_examples=128),
            TransformerConfig(
                d_model=128, d_ffn=256, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.3, share_embeddings=True
            ),
            training=TrainingConfig(epochs=40, learning_rate=5e-3, warmup_steps=2_000),
        ),
    },
    columns=("loss", "per", "bleu", "unending", "repeated_4grams", "leaks", "batch_drift"),
    seeds={"smoke": 1, "quick": 5, "paper": 3},
    published_by="first: no published table was found",
    notes=(*NOTES, "without an end: what was still being written at the length of the longest training target"),
    expected={
        "smoke": "under 45 s on two cores; nothing is learnt",
        "quick": "4 minutes on two cores; 0.4 % of outputs without an end with the mask, 94 % without one",
        "paper": "an accelerator's work; not run yet",
    },
)
