"""Forms of applying a mask: what each costs in quality, and what the audit finds in it."""

from experiments._forms import NOTES
from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment, Part
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

_FORMS = {
    "flaxmask": None,
    "minus infinity": "minus_infinity",
    "least number": "least",
    "-1e9 added": "added_1e9",
    "-1e4 added": "added_1e4",
    "weights multiplied": "multiplied",
    "multiplied, renormalised": "renormalised",
    "literal softmax(x + mask)": "literal",
    "memory multiplied": "memory",
    "none": "none",
}
_COLUMNS = (
    "diverged_at",
    "loss",
    "per",
    "wer",
    "bleu",  # as chrF, of translations alone: pairs of one's own
    "chrf",
    "leaks",
    "nan_outputs",
    "batch_drift",
    "step_milliseconds",
)
_LOW = {f"{row}, {dtype}": (form, dtype) for dtype in ("bfloat16", "float16") for row, form in _FORMS.items()}
_FEW = ("flaxmask, bfloat16", "flaxmask, float16", "-1e9 added, float16", "-1e4 added, float16")

EXPERIMENT = Experiment(
    name="mask_forms",
    title="What does each form of applying a mask cost?",
    rows={row: {"model.mask_form": form, "model.dtype": "float32"} for row, form in _FORMS.items()}
    | {row: {"model.mask_form": form, "model.dtype": dtype} for row, (form, dtype) in _LOW.items()},
    scales={
        "smoke": Config(
            DataConfig(layout="static", length=24, train_examples=256, batch_examples=64, evaluation_examples=64),
            TransformerConfig(d_model=32, d_ffn=64, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0),
            training=TrainingConfig(on_nan="record"),
        ),
        "quick": Config(
            DataConfig(layout="dynamic", shapes=1, length=24, train_examples=30_000, evaluation_examples=500),
            TransformerConfig(d_model=64, d_ffn=128, heads=4, encoder_layers=1, decoder_layers=1, dropout=0.0),
            training=TrainingConfig(learning_rate=4e-3, schedule="cosine", on_nan="record"),
        ),
        "paper": Config(
            DataConfig(name="multi30k/en-de", layout="static", vocabulary_size=10_000, batch_examples=128),
            TransformerConfig(
                d_model=128, d_ffn=256, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.3, share_embeddings=True
            ),
            training=TrainingConfig(epochs=40, learning_rate=5e-3, warmup_steps=2_000, on_nan="record"),
        ),
    },
    parts=(
        Part("Forms of applying a mask, in float32", tuple(_FORMS), (*_COLUMNS, "bleu")),
        Part("The same in half precision", tuple(_LOW), (*_COLUMNS, "bleu")),
    ),
    notes=NOTES,
    left_out={"quick": tuple(row for row in _LOW if row not in _FEW)},
    published_by="first: no published table of forms was found",
    expected={
        "smoke": "some 15 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "4 minutes on two cores; PER 30.6 to 31.0 % in the correct forms, 32.7 % with the memory multiplied, "
        "above 200 % in those that leak; NaN at the first update where there is no number to hide with",
        "paper": "an accelerator's work; not run yet",
    },
)
