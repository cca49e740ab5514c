"""Pieces of the sources, to the letter: what the audit finds in each, beside the reading that was meant."""

from flaxmask.experiment import Config, Experiment, Part

_AUDITED = (
    "masked input never used",
    "mask on one-hot ids",
    "recurrence without state",
    "mask of the wrong sign",
    "one vector for a memory",
    "weights times mask",
    "mask added to scores",
    "mask added to values",
    "heads by a reshape",
    "heads across examples",
)
_MEASURE = {"probe.function": "_specimens.measure"}
_READINGS = {
    f"{name}, {reading}": _MEASURE | {"probe.subject": name, "probe.variant": reading}
    for name in _AUDITED
    for reading in ("literal", "mended")
}
_POSITIONS = {
    f"positions: {way}": _MEASURE | {"probe.subject": "positions", "probe.variant": way}
    for way in ("one number for all channels", "sines of many wavelengths")
}
_LAYERS = {
    f"layer: {way}": _MEASURE | {"probe.subject": "layer", "probe.variant": way}
    for way in ("softmax, then norm", "sum, then norm")
}

EXPERIMENT = Experiment(
    name="specimens",
    title="What do the sources' own pieces do, as they are written?",
    rows=_READINGS | _POSITIONS | _LAYERS,
    scales={"smoke": Config(), "quick": Config(), "paper": Config()},
    parts=(
        Part(
            "Audited, two examples of 6 and 4 tokens, weights drawn once",
            tuple(_READINGS),
            ("leaks", "dead", "constant_outputs", "batch_drift"),
        ),
        Part(
            "64 positions at width 512: the least distance between two of them", tuple(_POSITIONS), ("least_distance",)
        ),
        Part(
            "Output of a layer whose input has a deviation of 10: channels that carry it (a third of normal ones do)",
            tuple(_LAYERS),
            ("channels_used",),
        ),
    ),
    seeds={"smoke": 1, "quick": 1, "paper": 1},
    published_by="first: nobody published such a table",
    expected=dict.fromkeys(
        ("smoke", "quick", "paper"),
        "half a minute; nothing is trained, all scales are the same; each literal reading has a fault that its mended "
        "one has not",
    ),
)
