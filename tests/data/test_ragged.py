import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples, Row
from flaxmask.data.layouts import make_layout
from flaxmask.data.loader import Plan, batches
from flaxmask.data.ragged import Ragged, RaggedWriter
from flaxmask.data.sources.plain import open_plain


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 99))), st.integers(1, 30))
def test_what_goes_to_a_file_is_what_stays_in_memory(lists, spill):
    writer = RaggedWriter(spill)
    for ids in lists:
        writer.add(ids)
    ragged, wanted = writer.finish(), Ragged.of(lists)
    assert [ragged[i].tolist() for i in range(len(ragged))] == lists
    np.testing.assert_array_equal(ragged.values, wanted.values)
    np.testing.assert_array_equal(ragged.offsets, wanted.offsets)


def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch):
    """From a file of lines to batches: 5 MB of ids pass, and less than a quarter of it is ever held."""
    rng = np.random.default_rng(0)
    path = tmp_path / "train.txt"
    with path.open("w") as file:
        for _ in range(2_500):
            file.write(" ".join(map(str, rng.integers(4, 99, 500))) + "\n")
    monkeypatch.setattr("flaxmask.data.ragged.SPILL", 1 << 14)
    split = open_plain(str(path).replace("train", "{split}"), "train")
    tracemalloc.start()
    rows = (list(map(int, record["text"].split())) for record in split.records())
    data = Examples.of_rows((Row(None, ids, ids) for ids in rows), (0, 99))
    plan = Plan(make_layout(DataConfig(layout="static", batch_examples=4), data.lengths), data.lengths, 0, 1)
    stream = batches(data, plan)
    read = sum(int(next(stream).target.real.sum()) for _ in range(100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == 100 * 4 * 500
    assert data.labels.values.nbytes == 5_000_000
    assert isinstance(data.labels.values, np.memmap)
    assert peak < 1_250_000
    batch = build_batch(data, plan[7])
    np.testing.assert_array_equal(batch.labels[batch.target.real], batch.target.ids[batch.target.real])
