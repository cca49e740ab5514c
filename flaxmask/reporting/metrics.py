"""What is measured: the one list of metrics, with units and the direction that is better."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    Attributes:
      label: head of its column.
      unit: "" where it has none.
      digits: after the point.
      better: "high", "low" or "neither".
      scale: the value is multiplied by it before it is shown.
      scientific: whether it is written as 1.0e-06.
      measured: whether it differs from run to run (times, memory, compilations); all others are functions of
        configuration and seed.
    """

    label: str
    unit: str = ""
    digits: int = 0
    better: Literal["high", "low", "neither"] = "neither"
    scale: float = 1.0
    measured: bool = False
    scientific: bool = False


METRICS = {
    "real_token_fraction": Metric("real tokens", "of slots", 3, "high"),
    "real_tokens_per_second": Metric("real tokens", "per s", 0, "high", measured=True),
    "step_milliseconds": Metric("step", "ms", 1, "low", measured=True),
    "compile_count": Metric("compiles", "", 0, "low", measured=True),
    "compile_seconds": Metric("compile", "s", 1, "low", measured=True),
    "compile_cached": Metric("from cache", "programs", measured=True),
    "peak_memory_bytes": Metric("memory", "MiB", 0, "low", 2.0**-20, measured=True),
    "updates": Metric("updates"),
    "real_tokens": Metric("real tokens seen", "M", 2, scale=1e-6),
    "epochs": Metric("epochs"),
    "flops": Metric("FLOP", "T", 2, scale=1e-12),
    "train_seconds": Metric("training", "s", 0, "low", measured=True),
    "rows": Metric("rows", "an epoch"),
    "shapes": Metric("shapes"),
    "parameters": Metric("parameters", "M", 2, scale=1e-6),
    "training_loss": Metric("training loss", "nats", 3, "low"),
    "diverged_at": Metric("diverged", "at update"),
    "gradient_spikes": Metric("gradient spikes", "updates", better="low"),
    "skipped_updates": Metric("skipped", "updates"),
    "loss": Metric("loss", "nats", 3, "low"),
    "per": Metric("PER", "%", 1, "low"),
    "wer": Metric("WER", "%", 1, "low"),
    "per_trained": Metric("PER, lengths trained on", "%", 1, "low"),
    "per_longer": Metric("PER, longer", "%", 1, "low"),
    "wer_trained": Metric("WER, lengths trained on", "%", 1, "low"),
    "wer_longer": Metric("WER, longer", "%", 1, "low"),
    "unending": Metric("without an end", "% of outputs", 2, "low"),
    "repeated_4grams": Metric("repeated 4-grams", "%", 2, "low"),
    "accuracy": Metric("accuracy", "% of labels", 1, "high"),
    "named_accuracy": Metric("named", "% right", 1, "high"),
    "finetuned_accuracy": Metric("finetuned", "% right", 1, "high"),
    "span_f1": Metric("span F1", "%", 1, "high"),
    "bleu": Metric("BLEU", "%", 1, "high"),
    "tokenised_bleu": Metric("tokenised BLEU", "%", 2, "high"),
    "character_bleu": Metric("character BLEU", "%", 1, "high"),
    "chrf": Metric("chrF", "%", 1, "high"),
    "distinct_2": Metric("distinct-2", "%", 1, "high"),
    "self_bleu": Metric("self-BLEU", "%", 1, "low"),
    "visible_flops": Metric("attention FLOP, visible cells", "k a token", 2, "low", 1e-3),
    "attention_rank": Metric("weight and effect", "Spearman's ρ", 3, "high"),
    "attention_top": Metric("most attended has most effect", "% of outputs", 1, "high"),
    "attention_flops": Metric("attention FLOP", "G", 2, "low", 1e-9),
    "attention_milliseconds": Metric("attention", "ms", 1, "low", measured=True),
    "leaks": Metric("leaks", better="low"),
    "dead": Metric("dead", "edges", better="low"),
    "constant_outputs": Metric("constant", "outputs", better="low"),
    "least_distance": Metric("least distance", "of the largest", 5, "high"),
    "channels_used": Metric("channels used", "%", 2, "high"),
    "nan_outputs": Metric("NaN", "outputs", better="low"),
    "batch_drift": Metric("batch drift", "of logits", 1, "low", scientific=True),
    "truncated_examples": Metric("truncated", "examples"),
    "skipped_examples": Metric("skipped", "records"),
    "unknown_tokens": Metric("unknown", "tokens"),
    "packing_rows": Metric("rows", better="low"),
    "packing_efficiency": Metric("efficiency", "%", 4, "high"),
    "packing_factor": Metric("sequences", "a row", 5, "high"),
    "packing_limit": Metric("limit", "a row", 4),
    "packing_seconds": Metric("packing", "s", 2, "low", measured=True),
}

MEASURED = tuple(name for name, metric in METRICS.items() if metric.measured)
"""The metrics that differ from run to run."""

TIMES = tuple(name for name in MEASURED if METRICS[name].unit in ("s", "ms", "per s"))
"""Those of them that other work on the machine makes worse."""
