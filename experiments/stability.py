"""How evenly a model learns, with a mask and with wrong ones: sentence polarity."""

from experiments._forms import BESIDE, NOTES
from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

EXPERIMENT = Experiment(
    name="stability",
    title="Is training steadier with a mask: fewer spikes of the gradients, less spread over seeds?",
    rows=BESIDE,
    scales={
        "smoke": Config(
            DataConfig(
                name="sentence_polarity",
                layout="static",
                vocabulary_size=1000,
                length=32,
                train_examples=96,
                evaluation_examples=32,
                batch_examples=32,
            ),
            TransformerConfig(d_model=32, d_ffn=64, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0),
        ),
        "quick": Config(
            DataConfig(name="sentence_polarity", layout="static", vocabulary_size=4000, length=48, batch_examples=64),
            TransformerConfig(d_model=64, d_ffn=128, heads=4, encoder_layers=2, decoder_layers=1, dropout=0.1),
            training=TrainingConfig(
                epochs=2, learning_rate=5e-3, warmup_steps=20, schedule="cosine", label_smoothing=0.0
            ),
        ),
        "paper": Config(
            DataConfig(name="sentence_polarity", layout="static", vocabulary_size=8000, batch_examples=64),
            TransformerConfig(d_model=256, d_ffn=1024, heads=4, encoder_layers=4, decoder_layers=1, dropout=0.4),
            training=TrainingConfig(epochs=10, learning_rate=5e-4, label_smoothing=0.0),
        ),
    },
    columns=("updates", "gradient_spikes", "training_loss", "loss", "accuracy", "leaks", "batch_drift"),
    seeds={"smoke": 1, "quick": 8, "paper": 8},
    published_by="first: no published table was found",
    notes=(*NOTES, "a spike: gradients of more than twice the median norm of the 32 updates before"),
    expected={
        "smoke": "under 45 s on two cores; nothing is learnt",
        "quick": "5 to 7 minutes on two cores; accuracy 72.9 % with the mask, 70.5 to 71.7 % with wrong ones; some 20 "
        "spikes in every row",
        "paper": "an accelerator's work; not run yet",
    },
)
