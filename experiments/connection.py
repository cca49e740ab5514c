"""What an encoder hands over, and how a decoder starts: English to French."""

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment, Part
from flaxmask.models.config import RecurrentConfig, TransformerConfig
from flaxmask.training.config import TrainingConfig

_HANDED = {"all positions": "all", "last state": "last", "mean": "mean", "first vector": "first"}
_LSTM = {"architecture": "recurrent", "data.layout": "bucketed"}
_TRANSFORMER = {
    f"Transformer: {name}, {start}": {"model.handed": handed, "model.start": way}
    for name, handed in _HANDED.items()
    for start, way in (("handed over", "handed"), ("zero", "token"), ("random", "random"))
}
_RECURRENT = {
    f"LSTM: {name}, {start}": _LSTM | {"recurrent.handed": handed, "recurrent.start": way}
    for name, handed in _HANDED.items()
    for start, way in (("handed over", "handed"), ("zero", "zero"), ("random", "random"))
}
_PLAIN = {
    "LSTM: no attention, handed over": _LSTM | {"recurrent.attention": "none"},
}
_ROWS = _TRANSFORMER | _RECURRENT | _PLAIN
_COLUMNS = ("updates", "train_seconds", "loss", "accuracy", "tokenised_bleu", "chrf", "leaks", "dead", "batch_drift")
_SAMPLE = "i love this beer . it is the best in the world ."
# At quick all that is handed over, and starts of what reads everything.
_FEW = [
    *(row for row in _ROWS if row.endswith(", handed over")),
    *("Transformer: all positions, zero", "LSTM: all positions, zero", "LSTM: all positions, random"),
]

EXPERIMENT = Experiment(
    name="connection",
    title="What must an encoder hand to its decoder, and where should that start?",
    rows=_ROWS,
    scales={
        "smoke": Config(
            DataConfig(
                name="multi30k/en-fr-tok",
                vocabulary_size=400,
                length=24,
                shapes=1,
                train_examples=128,
                batch_examples=64,
                evaluation_examples=16,
            ),
            TransformerConfig(
                d_model=16, d_ffn=32, heads=2, encoder_layers=1, decoder_layers=1, norm="post", share_embeddings=True
            ),
            recurrent=RecurrentConfig(d_model=16, hidden=16, attention="additive"),
        ),
        "quick": Config(
            DataConfig(
                name="multi30k/en-fr-tok",
                vocabulary_size=2000,
                length=48,
                shapes=1,
                train_examples=5_000,
                batch_examples=64,
                evaluation_examples=250,
                sample=_SAMPLE,
            ),
            TransformerConfig(
                d_model=128, d_ffn=256, heads=4, encoder_layers=1, decoder_layers=1, dropout=0.1, share_embeddings=True
            ),
            recurrent=RecurrentConfig(d_model=128, hidden=128, attention="additive", dropout=0.1),
            training=TrainingConfig(epochs=2, learning_rate=5e-3, warmup_steps=50, schedule="cosine"),
        ),
        "paper": Config(
            DataConfig(name="multi30k/en-fr-tok", vocabulary_size=10_000, batch_examples=585, sample=_SAMPLE),
            TransformerConfig(
                d_model=128, d_ffn=256, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.3, share_embeddings=True
            ),
            recurrent=RecurrentConfig(d_model=256, hidden=512, bidirectional=True, attention="additive", dropout=0.3),
            training=TrainingConfig(epochs=100, learning_rate=5e-3, warmup_steps=2_000),
        ),
    },
    parts=(
        Part("Transformer: what is handed over, and what the decoder starts from", tuple(_TRANSFORMER), _COLUMNS),
        Part("LSTM: the same, with additive attention over what is handed over", (*_RECURRENT, *_PLAIN), _COLUMNS),
    ),
    left_out=dict.fromkeys(("smoke", "quick"), tuple(row for row in _ROWS if row not in _FEW)),
    seeds={"smoke": 1, "quick": 1, "paper": 3},
    published={
        "LSTM: all positions, handed over": {"tokenised_bleu": "26.75"},
        "LSTM: no attention, handed over": {"tokenised_bleu": "17.82"},
    },
    published_by="Bahdanau et al. 2015, RNNsearch-50 and RNNencdec-50, WMT14 English to French; the order alone is "
    "compared",
    compared=dict.fromkeys(("smoke", "quick", "paper"), "trend"),
    notes=(
        "one vector stands at all positions: to attend to these is to read that vector, whatever the weights",
        "handed over: an LSTM starts from the encoder's final state, a Transformer from the mean of its output, added "
        "to the beginning mark",
    ),
    expected={
        "smoke": "some 10 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "7 minutes on two cores; tokenised BLEU 4.5 (LSTM, all positions), 1.7 (its final state alone), 4.5 "
        "to 5.5 and 2.4 to 3.0 (Transformer, all positions and one vector)",
        "paper": "an accelerator's work; not run yet",
    },
)
