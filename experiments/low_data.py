"""A mask, and no mask, where there are few examples to learn from: sentence polarity."""

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

_SHARES = {1: 62, 3: 31, 10: 10, 30: 3, 100: 1}
"""Of the training sentences in percent, and how often each is seen: some 120 updates of 64 each."""

EXPERIMENT = Experiment(
    name="low_data",
    title="Does a mask matter more where there is little to learn from?",
    rows={
        f"{share} %, {row}": {
            "data.train_examples": 80 * share,
            "training.epochs": epochs,
            "model.mask_form": form,
        }
        for share, epochs in _SHARES.items()
        for row, form in (("masked", None), ("no mask", "none"))
    },
    scales={
        "smoke": Config(
            DataConfig(
                name="sentence_polarity",
                layout="static",
                vocabulary_size=1000,
                vocabulary_of="sentence_polarity",
                length=16,
                evaluation_examples=32,
                batch_examples=512,
            ),
            TransformerConfig(d_model=16, d_ffn=32, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0),
        ),
        "quick": Config(
            DataConfig(
                name="sentence_polarity",
                layout="static",
                vocabulary_size=4000,
                vocabulary_of="sentence_polarity",
                length=48,
                batch_examples=64,
            ),
            TransformerConfig(d_model=64, d_ffn=128, heads=4, encoder_layers=1, decoder_layers=1, dropout=0.1),
            training=TrainingConfig(learning_rate=3e-3, warmup_steps=20, schedule="cosine", label_smoothing=0.0),
        ),
        "paper": Config(
            DataConfig(
                name="sentence_polarity",
                layout="static",
                vocabulary_size=8000,
                vocabulary_of="sentence_polarity",
                batch_examples=64,
            ),
            TransformerConfig(d_model=256, d_ffn=1024, heads=4, encoder_layers=2, decoder_layers=1, dropout=0.4),
            training=TrainingConfig(learning_rate=5e-4, label_smoothing=0.0),
        ),
    },
    columns=("updates", "training_loss", "loss", "accuracy", "leaks", "batch_drift"),
    seeds={"smoke": 1, "quick": 5, "paper": 5},
    published_by="first: no published table was found",
    notes=("100 % are 8,000 sentences; fewer are seen more often, so that all rows have about as many updates",),
    expected={
        "smoke": "under 90 s on two cores; nothing is learnt",
        "quick": "4 to 6 minutes on two cores; accuracy 53 and 54 % at 1 %, 64.5 and 62.0 % at 100 %",
        "paper": "an accelerator's work; not run yet",
    },
)
