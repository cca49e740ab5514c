"""Temperature, top-k and top-p: what diversity costs, of one trained model each seed; English to German."""

from flaxmask.data.config import DataConfig
from flaxmask.decoding.config import DecodingConfig
from flaxmask.experiment import Config, Experiment, Part
from flaxmask.models.config import TransformerConfig
from flaxmask.training.config import TrainingConfig

_ROWS = {
    f"temperature {temperature}, top-k {top_k or 'all'}, top-p {top_p}": {
        "decoding.temperature": temperature,
        "decoding.top_k": top_k,
        "decoding.top_p": top_p,
    }
    for temperature in (0.5, 1.0, 1.5)
    for top_k in (0, 10, 50)
    for top_p in (0.9, 1.0)
}
_FEW = [row for row in _ROWS if not (row.startswith("temperature 0.5") and "top-k 50" in row)]

EXPERIMENT = Experiment(
    name="sampling",
    title="How much quality does diversity cost?",
    rows=_ROWS,
    scales={
        "smoke": Config(
            DataConfig(
                name="multi30k/en-de-tok",
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
            decoding=DecodingConfig(samples=3),
        ),
        "quick": Config(
            DataConfig(
                name="multi30k/en-de-tok",
                vocabulary_size=2000,
                length=48,
                shapes=1,
                train_examples=10_000,
                batch_examples=128,
                evaluation_examples=100,
            ),
            TransformerConfig(
                d_model=128, d_ffn=256, heads=4, encoder_layers=1, decoder_layers=1, dropout=0.1, share_embeddings=True
            ),
            training=TrainingConfig(epochs=3, learning_rate=5e-3, warmup_steps=50, schedule="cosine"),
            decoding=DecodingConfig(samples=5),
        ),
        "paper": Config(
            DataConfig(name="multi30k/en-de-tok", vocabulary_size=10_000, batch_examples=585),
            TransformerConfig(
                d_model=128,
                d_ffn=256,
                heads=4,
                encoder_layers=4,
                decoder_layers=4,
                dropout=0.3,
                norm="post",
                share_embeddings=True,
            ),
            training=TrainingConfig(epochs=100, learning_rate=5e-3, warmup_steps=2_000),
            decoding=DecodingConfig(samples=10),
        ),
    },
    parts=(
        Part(
            "Samples of one model",
            tuple(_ROWS),
            ("tokenised_bleu", "chrf", "distinct_2", "self_bleu", "unending", "repeated_4grams"),
            front=("distinct_2", "tokenised_bleu"),
        ),
    ),
    left_out={
        "smoke": tuple(row for row in _ROWS if not row.startswith("temperature 1.0")),
        "quick": tuple(row for row in _ROWS if row not in _FEW),
    },
    seeds={"smoke": 1, "quick": 1, "paper": 3},
    published_by="first: no published table on this task was found",
    notes=(
        "BLEU and chrF: of all samples together, each against the reference; distinct-2: different pairs of words in "
        "the samples of a source; self-BLEU: each sample against the others of its source",
    ),
    expected={
        "smoke": "some 10 s a row on two cores, compilation for the most part; nothing is learnt",
        "quick": "5 minutes on two cores; BLEU 10.3 at 57 % distinct-2, 6.6 at 89 %, 0.2 at 99.8 %",
        "paper": "an accelerator's work; not run yet",
    },
)
