"""Letters to phonemes on CMUdict's standard split: an LSTM with attention against a Transformer of 4+4 layers."""

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config, Experiment
from flaxmask.models.config import RecurrentConfig, TransformerConfig
from flaxmask.training.config import TrainingConfig

EXPERIMENT = Experiment(
    name="g2p",
    title="How many words are pronounced wrongly, by an LSTM with attention and by a Transformer?",
    # Slot by slot, many short rows cost a recurrence less than few long ones; the answers are the same.
    rows={"LSTM with attention": {"architecture": "recurrent", "data.layout": "bucketed"}, "Transformer 4x4": {}},
    scales={
        "smoke": Config(
            DataConfig(
                layout="static", length=24, train_examples=256, batch_examples=64, evaluation_examples=64, shapes=2
            ),
            model=TransformerConfig(d_model=32, d_ffn=64, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0),
            recurrent=RecurrentConfig(d_model=16, hidden=16, bidirectional=True, attention="dot"),
        ),
        "quick": Config(
            DataConfig(length=32, train_examples=30_000, batch_examples=128, evaluation_examples=2_000),
            model=TransformerConfig(d_model=128, d_ffn=256, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.0),
            recurrent=RecurrentConfig(d_model=128, hidden=128, bidirectional=True, attention="dot"),
            training=TrainingConfig(epochs=2, learning_rate=2e-3, schedule="cosine"),
        ),
        "paper": Config(
            DataConfig(name="cmudict/standard", batch_examples=256),
            model=TransformerConfig(d_model=128, d_ffn=512, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.1),
            recurrent=RecurrentConfig(d_model=128, hidden=256, bidirectional=True, attention="dot", dropout=0.2),
            training=TrainingConfig(
                epochs=30, learning_rate=2e-3, warmup_steps=1_000, schedule="cosine", curve_every=2_130
            ),
        ),
    },
    seeds={"smoke": 1, "quick": 1, "paper": 1},
    columns=("real_tokens_per_second", "updates", "train_seconds", "loss", "per", "wer", "leaks", "batch_drift"),
    published={
        "LSTM with attention": {"per": "5.04", "wer": "21.69"},
        "Transformer 4x4": {"per": "5.23", "wer": "22.1"},
    },
    published_by="Toshniwal & Livescu 2016 (LSTM with global attention); Yolchuyeva et al. 2019 (Transformer 4x4)",
    notes=(
        "paper is 30 epochs in which the rate falls to 0, at width 128 (Transformer) and 256 (one LSTM layer, both "
        "ways): what two cores do in some hours; wider and longer trainings were not tried; the curves are in figures/",
    ),
    expected={
        "smoke": "some 15 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "3 to 4 minutes on two cores; WER 50 (LSTM) and 54 (Transformer 4x4)",
        "paper": "92 minutes (Transformer 4x4, WER 24.7) and 134 (LSTM, WER 26.4) on two cores that other work shared",
    },
)
