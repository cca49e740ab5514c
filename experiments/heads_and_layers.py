"""Heads at equal parameters, and layers: letters to phonemes."""

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment, Part
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

_HEADS = {
    f"{heads} head{'s' * (heads > 1)}, 3 layers": {
        "model.heads": heads,
        "model.encoder_layers": 3,
        "model.decoder_layers": 3,
    }
    for heads in (1, 2, 4, 8)
}
_LAYERS = {
    f"4 heads, {layers} layers": {"model.heads": 4, "model.encoder_layers": layers, "model.decoder_layers": layers}
    for layers in (3, 4, 5)
}
_COLUMNS = ("parameters", "flops", "loss", "per", "wer", "leaks", "batch_drift")

EXPERIMENT = Experiment(
    name="heads_and_layers",
    title="Are more heads, or more layers, better?",
    rows=_HEADS | _LAYERS,
    scales={
        "smoke": Config(
            DataConfig(
                layout="static", length=24, train_examples=256, batch_examples=64, evaluation_examples=64, shapes=2
            ),
            model=TransformerConfig(d_model=32, d_ffn=64, dropout=0.0),
        ),
        "quick": Config(
            DataConfig(shapes=1, length=24, train_examples=8_000, batch_examples=64, evaluation_examples=500),
            model=TransformerConfig(d_model=64, d_ffn=128, dropout=0.0),
            training=TrainingConfig(learning_rate=4e-3, schedule="cosine"),
        ),
        "paper": Config(
            DataConfig(name="cmudict/standard", batch_examples=256),
            model=TransformerConfig(d_model=128, d_ffn=512, dropout=0.1),
            training=TrainingConfig(epochs=30, learning_rate=2e-3, warmup_steps=1_000, schedule="cosine"),
        ),
    },
    parts=(
        Part("Heads, of equal parameters", tuple(_HEADS), _COLUMNS),
        Part("Layers on each side", tuple(_LAYERS), _COLUMNS),
    ),
    seeds={"smoke": 1, "quick": 5, "paper": 3},
    published={row: {"wer": wer} for row, wer in zip(_LAYERS, ("23.9", "22.1", "24.6"), strict=True)},
    published_by="Yolchuyeva et al. 2019 (3x3, 4x4, 5x5 layers), CMUdict; smaller here, so the order alone is compared",
    compared={"smoke": "trend", "quick": "trend", "paper": "trend"},
    expected={
        "smoke": "some 15 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "5 to 7 minutes on two cores; PER 40.6, 39.5, 39.9, 41.3 % (1, 2, 4, 8 heads), 39.9, 39.7, 39.8 % "
        "(3, 4, 5 layers): none apart from another",
        "paper": "an accelerator's work; not run yet",
    },
)
