"""What a mask costs and saves: operations, time, memory and parameters, by layout."""

from flaxmask.experiment import Config, Experiment

_LAYOUTS = ("static", "dynamic", "bucketed", "packed")
_WAYS = ("no mask", "dense mask", "skipped blocks")

EXPERIMENT = Experiment(
    name="cost_of_masks",
    title="Do masks reduce computation, or parameters?",
    rows={
        f"{layout}, {way}": {
            "probe.function": "_costs.measure",
            "probe.subject": layout,
            "probe.variant": way,
        }
        for layout in _LAYOUTS
        for way in _WAYS
    },
    scales={"smoke": Config(), "quick": Config(), "paper": Config()},
    columns=("attention_flops", "attention_milliseconds", "peak_memory_bytes", "parameters"),
    seeds={"smoke": 1, "quick": 1, "paper": 1},
    published_by="first: nobody published such a table",
    notes=(
        "one attention of 4 heads of 32, forward and backward, over 64 sequences at even quantiles of Wikipedia's "
        "lengths (Krell et al. 2021, up to 512), fastest of five calls; parameters: of a Transformer with that mask",
        "no mask: every slot reads every other one, which is the wrong answer; it stands here for its price",
    ),
    expected=dict.fromkeys(("smoke", "quick", "paper"), "a minute; nothing is trained, all scales are the same"),
)
