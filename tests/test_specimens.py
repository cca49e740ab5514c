"""The sources' pieces: each fault is found as they are written, and none where they are mended."""

import jax.numpy as jnp
import numpy as np
import pytest

import run
from experiments import _specimens as specimens
from flaxmask.attention import forms
from flaxmask.cell import run_cell
from flaxmask.experiment import Run, find
from flaxmask.names import Refused
from flaxmask.probe import ProbeConfig, probed

FAULTS = {
    "masked input never used": {"leaks", "batch_drift"},
    "mask on one-hot ids": {"batch_drift"},
    "recurrence without state": {"dead"},
    "mask of the wrong sign": {"leaks", "dead", "batch_drift"},
    "one vector for a memory": {"dead", "constant_outputs"},
    "weights times mask": {"leaks", "batch_drift"},
    "mask added to scores": {"leaks", "batch_drift"},
    "mask added to values": {"leaks", "batch_drift"},
    "heads by a reshape": {"leaks", "dead", "batch_drift"},
    "heads across examples": {"leaks", "dead", "batch_drift"},
}


def found(name, reading):
    metrics, _ = specimens.measure(name, reading)
    return {what for what, value in metrics.items() if value > 1e-6}


@pytest.mark.parametrize("name", specimens.SPECIMENS)
def test_a_fault_is_found_as_it_is_written_and_mended(name):
    assert found(name, "literal") == FAULTS[name]
    assert found(name, "mended") == set()


def test_what_leaks_is_what_the_source_says():
    leaks = lambda name: specimens.audited(s := specimens.SPECIMENS[name], s.literal).leaks
    assert any(leak.input_position > leak.output_position for leak in leaks("heads by a reshape")), "the future"
    assert all(leak.input_row == leak.output_row for leak in leaks("heads by a reshape"))
    assert any(leak.input_row != leak.output_row for leak in leaks("heads across examples")), "other examples"
    specimen = specimens.SPECIMENS["mask of the wrong sign"]
    _, real = specimens.given(specimen)
    [moved] = specimens.audited(specimen, specimen.literal).measured.values()
    padded = ~real.all(axis=1)
    assert not (moved & real[:, :, None] & real[:, None, :])[padded].any(), "every real token is hidden"


def test_what_is_hidden_by_a_one_is_preferred_by_e():
    scores, visible = jnp.zeros((1, 1, 1, 4)), jnp.array([True, True, True, False])[None, None, None]
    weights = np.asarray(forms.literal(scores, visible))[0, 0, 0]
    np.testing.assert_allclose(weights[3] / weights[0], np.e, rtol=1e-6)


def test_one_number_for_a_position_nearly_repeats():
    period = 2 * np.pi / (10_000 / 512 % (2 * np.pi))
    assert round(period, 2) == 9.22
    x = np.asarray(specimens.one_number(np.arange(64.0), 512))
    assert (x == x[:, :1]).all(), "all channels hold the same number"
    least = {name: specimens.told_apart(encode) for name, encode in specimens.POSITIONS.items()}
    assert least["one number for all channels"] < 1e-3 < 0.1 < least["sines of many wavelengths"]


def test_a_softmax_for_a_layer_leaves_few_channels():
    used = {name: specimens.channels_used(layer, 10.0) for name, layer in specimens.LAYERS.items()}
    assert used["softmax, then norm"] < 0.01 < 0.3 < used["sum, then norm"]


def test_the_page_has_them_all(tmp_path):
    page = find("specimens", run.EXPERIMENTS)
    configs = page.configs("quick", {})
    subjects = {(config.probe.subject, config.probe.variant) for config in configs.values()}
    readings = {(name, which) for name in specimens.SPECIMENS for which in ("literal", "mended")}
    others = {("positions", way) for way in specimens.POSITIONS} | {("layer", way) for way in specimens.LAYERS}
    assert subjects == readings | others
    row = "mask of the wrong sign, literal"
    table = Run(page, "quick", 3, tmp_path, configs, only=(row,))
    table.claim()
    table.run(run_cell, lambda: None)
    assert table.cells() == [], "one seed is all of them"
    [text] = table.audits()
    assert "leak: row 1, output 0 reads ids 4" in text


def test_a_probe_is_beside_its_page():
    with pytest.raises(Refused, match="expected MODULE"):
        ProbeConfig("os.path.join")
    for name, said in {"none.measure": "no module none", "_specimens.none": "has no function none"}.items():
        with pytest.raises(Refused, match=said):
            probed(ProbeConfig(name))
