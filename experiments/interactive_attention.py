"""Interactive attention (system B of the sources) and its variants, in an LSTM: letters to phonemes."""

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment
from flaxmask.models.config import RecurrentConfig
from flaxmask.training.config import TrainingConfig

_INTERACTIVE = {
    f"{name}, bias {bias}": {
        "recurrent.attention": "interactive",
        "recurrent.gate": gate,
        "recurrent.input_bias": bias,
    }
    for name, gate in (("σ-gate", "sigmoid"), ("softmax", "softmax"))
    for bias in ("outside", "inside")
}

EXPERIMENT = Experiment(
    name="interactive_attention",
    title="What do gates in place of weights, and a bias outside of the tanh, do to an LSTM?",
    rows=_INTERACTIVE | {way: {"recurrent.attention": way} for way in ("additive", "none")},
    scales={
        "smoke": Config(
            DataConfig(
                layout="static", length=24, train_examples=256, batch_examples=64, evaluation_examples=64, shapes=1
            ),
            recurrent=RecurrentConfig(d_model=16, hidden=16),
            architecture="recurrent",
        ),
        "quick": Config(
            DataConfig(
                layout="bucketed",
                length=24,
                shapes=1,
                train_examples=12_000,
                batch_examples=64,
                evaluation_examples=500,
            ),
            recurrent=RecurrentConfig(d_model=64, hidden=96),
            training=TrainingConfig(learning_rate=4e-3, schedule="cosine"),
            architecture="recurrent",
        ),
        "paper": Config(
            DataConfig(name="cmudict/standard", layout="bucketed", batch_examples=256),
            recurrent=RecurrentConfig(d_model=128, hidden=256, bidirectional=True, dropout=0.2),
            training=TrainingConfig(epochs=30, learning_rate=2e-3, warmup_steps=1_000, schedule="cosine"),
            architecture="recurrent",
        ),
    },
    columns=("parameters", "step_milliseconds", "loss", "per", "wer", "leaks", "batch_drift"),
    seeds={"smoke": 1, "quick": 5, "paper": 3},
    published_by="first: nobody published such a table",
    notes=(
        "softmax: weights over the positions that may be read, one for each channel, in place of the sources' gates; "
        "additive: Bahdanau et al. 2015, whose context goes straight into the gates of the LSTM",
    ),
    expected={
        "smoke": "some 10 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "4 minutes on two cores; PER 50.6 % (gates), 50.9 (softmax), 27.2 (additive), 61.1 (none)",
        "paper": "an accelerator's work; not run yet",
    },
)
