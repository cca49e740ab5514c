"""Ways to tell positions, on words as long as those trained on and up to twice as long: letters to phonemes."""

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment
from flaxmask.models.config import RecurrentConfig, TransformerConfig
from flaxmask.training.config import TrainingConfig

_WAYS = {
    "sinusoid": "sinusoidal",
    "learned": "learned",
    "none": "none",
    "ALiBi": "alibi",
    "relative": "relative",
    "single number": "single",
}

EXPERIMENT = Experiment(
    name="positions",
    title="Which positions serve words that are longer than all that were trained on?",
    rows={row: {"model.positions": way} for row, way in _WAYS.items()}
    | {"LSTM": {"architecture": "recurrent", "data.layout": "bucketed"}},
    scales={
        "smoke": Config(
            DataConfig(train_longest=8, train_examples=256, batch_examples=64, evaluation_examples=64, shapes=1),
            model=TransformerConfig(d_model=32, d_ffn=64, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0),
            recurrent=RecurrentConfig(d_model=16, hidden=16, bidirectional=True, attention="dot"),
        ),
        "quick": Config(
            DataConfig(train_longest=8, train_examples=16_000, batch_examples=64, evaluation_examples=2_000, shapes=1),
            model=TransformerConfig(
                d_model=64, d_ffn=128, heads=4, encoder_layers=2, decoder_layers=2, dropout=0.0, max_positions=64
            ),
            recurrent=RecurrentConfig(d_model=64, hidden=64, bidirectional=True, attention="dot"),
            training=TrainingConfig(learning_rate=4e-3, schedule="cosine"),
        ),
        "paper": Config(
            DataConfig(name="cmudict/standard", train_longest=8, batch_examples=256),
            model=TransformerConfig(
                d_model=128, d_ffn=512, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.1, max_positions=64
            ),
            recurrent=RecurrentConfig(d_model=128, hidden=256, bidirectional=True, attention="dot", dropout=0.2),
            training=TrainingConfig(epochs=30, learning_rate=2e-3, warmup_steps=1_000, schedule="cosine"),
        ),
    },
    columns=("parameters", "updates", "per_trained", "per_longer", "wer_trained", "wer_longer", "per", "leaks"),
    seeds={"smoke": 1, "quick": 5, "paper": 3},
    published_by="first: no published table of these ways on this task was found",
    notes=(
        "trained on up to 8 tokens a side, end marks included; longer words are up to twice and a little more; the "
        "error rate at each length stands in figures/by_length.png",
    ),
    expected={
        "smoke": "some 10 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "5 to 8 minutes on two cores; PER of longer words 51.3 % (sinusoid), 64.0 (learned), 67.5 (ALiBi), "
        "71.0 (relative), 71.4 (none, single number), 39.2 (LSTM)",
        "paper": "an accelerator's work; not run yet",
    },
)
