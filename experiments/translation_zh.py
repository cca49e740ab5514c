"""English to Chinese (Tatoeba): recurrent systems A and B beside the Transformer."""

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment
from flaxmask.models.config import RecurrentConfig, TransformerConfig
from flaxmask.training.config import TrainingConfig

_RECURRENT = {"architecture": "recurrent", "data.layout": "bucketed"}
# As the sources have it: embeddings of 256, states of 128.
_A = {
    **_RECURRENT,
    "recurrent.d_model": 256,
    "recurrent.hidden": 128,
    "recurrent.attention": "none",
    "training.optimizer": "rmsprop",
}

EXPERIMENT = Experiment(
    name="translation_zh",
    title="How well do an LSTM, its kinds of attention, and a Transformer translate English to Chinese?",
    rows={
        "system A: LSTM, RMSprop": _A,
        "system A, inputs times mask": {**_A, "recurrent.masking": "inputs"},
        "LSTM": {**_RECURRENT, "recurrent.attention": "none"},
        "LSTM, interactive attention": {**_RECURRENT, "recurrent.attention": "interactive"},
        "LSTM, additive attention": {**_RECURRENT, "recurrent.attention": "additive"},
        "LSTM, dot attention": {**_RECURRENT, "recurrent.attention": "dot"},
        "Transformer": {},
    },
    scales={
        "smoke": Config(
            DataConfig(
                name="tatoeba/en-zh",
                length=24,
                train_examples=128,
                evaluation_examples=32,
                batch_examples=64,
                vocabulary_size=2000,
                shapes=2,
                sample="The cat sat on the mat.",
            ),
            TransformerConfig(d_model=32, d_ffn=64, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0),
            recurrent=RecurrentConfig(d_model=16, hidden=16),
        ),
        "quick": Config(
            DataConfig(
                name="tatoeba/en-zh",
                length=32,
                train_examples=8_000,
                evaluation_examples=400,
                batch_examples=64,
                vocabulary_size=4000,
                shapes=2,
                sample="The cat sat on the mat.",
            ),
            TransformerConfig(d_model=128, d_ffn=256, heads=4, encoder_layers=2, decoder_layers=2, dropout=0.1),
            recurrent=RecurrentConfig(d_model=128, hidden=128, dropout=0.1),
            training=TrainingConfig(epochs=2, learning_rate=3e-3, schedule="cosine"),
        ),
        "paper": Config(
            DataConfig(
                name="tatoeba/en-zh", vocabulary_size=8000, batch_examples=128, sample="The cat sat on the mat."
            ),
            TransformerConfig(d_model=256, d_ffn=1024, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.3),
            recurrent=RecurrentConfig(d_model=256, hidden=256, bidirectional=True, dropout=0.3),
            training=TrainingConfig(epochs=20, learning_rate=1e-3, warmup_steps=2_000),
        ),
    },
    columns=("parameters", "step_milliseconds", "loss", "chrf", "character_bleu", "leaks", "batch_drift"),
    published_by="first: no published table of these systems on this corpus was found",
    expected={
        "smoke": "some 15 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "4 minutes on two cores; 8,000 sentences twice teach little: chrF 3 to 5 in every row",
        "paper": "an accelerator's work; not run yet",
    },
)
