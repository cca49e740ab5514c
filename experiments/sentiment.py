"""Sentence polarity: forms of applying a mask × layouts, and heads of a classifier."""

from experiments._forms import GRID, NOTES
from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment, Part
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

_HEADS = {
    "first position": {"model.pooling": "first"},
    "masked mean": {"model.pooling": "mean"},
    "attention of [CLS]": {"model.pooling": "query"},
}
_FEW = (
    *("flaxmask, static", "flaxmask, bucketed", "flaxmask, packed", "renormalised, static", "multiplied, static"),
    *("minus infinity, static", "literal, static", "memory, dynamic", "no mask, packed"),
)
_COLUMNS = ("diverged_at", "loss", "accuracy", "leaks", "nan_outputs", "batch_drift")

EXPERIMENT = Experiment(
    name="sentiment",
    title="Does a classifier depend on how a mask is applied, how batches are laid out, and what it reads?",
    rows=GRID | _HEADS,
    scales={
        "smoke": Config(
            DataConfig(
                name="sentence_polarity",
                evaluation_layout="own",
                vocabulary_size=1000,
                length=32,
                train_examples=96,
                evaluation_examples=32,
                batch_examples=32,
            ),
            TransformerConfig(d_model=32, d_ffn=64, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0),
            training=TrainingConfig(on_nan="record"),
        ),
        "quick": Config(
            DataConfig(
                name="sentence_polarity",
                evaluation_layout="own",
                vocabulary_size=4000,
                length=48,
                shapes=2,
                batch_examples=64,
            ),
            TransformerConfig(d_model=64, d_ffn=128, heads=4, encoder_layers=1, decoder_layers=1, dropout=0.1),
            training=TrainingConfig(
                epochs=3, learning_rate=2e-3, schedule="cosine", label_smoothing=0.0, on_nan="record"
            ),
        ),
        "paper": Config(
            DataConfig(name="sentence_polarity", evaluation_layout="own", vocabulary_size=8000, batch_examples=64),
            TransformerConfig(d_model=256, d_ffn=1024, heads=4, encoder_layers=2, decoder_layers=1, dropout=0.4),
            training=TrainingConfig(epochs=10, learning_rate=5e-4, label_smoothing=0.0, on_nan="record"),
        ),
    },
    parts=(
        Part("Form of the mask × layout", tuple(GRID), _COLUMNS, reference="flaxmask, static", margin=3.0),
        Part("What the classifier reads", tuple(_HEADS), _COLUMNS),
    ),
    notes=NOTES,
    left_out={"quick": tuple(row for row in GRID if row not in _FEW)},
    published={"masked mean": {"accuracy": "76.1"}},
    compared=dict.fromkeys(("smoke", "quick", "paper"), "trend"),
    published_by="Kim 2014, CNN-rand, 10-fold cross-validation; an anchor for the level, not the same model",
    expected={
        "smoke": "some 15 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "4 minutes on two cores; accuracy 73 to 74 % in the correct forms, 57.5 % packed without a mask",
        "paper": "an accelerator's work; not run yet",
    },
)
