"""How long the sequences of pre-training corpora are: counts by length, without the text."""

import ast
import json

import numpy as np

from flaxmask.data.sources.files import File, content
from flaxmask.names import Refused


def from_program(program: bytes) -> bytes:
    """The lists in Krell et al.'s `histograms.py` (MIT) as JSON; the program is read, not run."""
    lists = {}
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call):
            lists[node.targets[0].id] = ast.literal_eval(node.value.args[0])
    found = {
        "source": _SOURCE,
        "wikipedia_512": lists["wikipedia_histogram"],
        "squad_1_1_384": lists["squad_1_1_histogram"],
    }
    return json.dumps(found).encode()


_SOURCE = (
    "graphcore/tutorials, blogs_code/packedBERT/histograms.py (MIT); counts[i] = number of sequences of length i+1"
)
_UPSTREAM = "https://raw.githubusercontent.com/graphcore/examples/2d8b565326ef6ba730492ad8badd984b067645bc"
BERT = File(
    "length-histograms/bert_pretraining.json",
    f"{_UPSTREAM}/tutorials/blogs_code/packedBERT/histograms.py",
    "23b926159710ef59d4f1ae032983dac9bac3b7a40f4f4216c16ad4ae59df0a16",
    convert=from_program,
)


def length_histograms(file: File = BERT) -> dict[str, np.ndarray]:
    """Histograms by corpus: int64 `[longest]`, where entry i counts the sequences of i + 1 tokens.

    Raises:
      Refused: the file cannot be had, or holds something else than lists of counts.
    """
    try:
        found = json.loads(content(file))
        names = [name for name in found if name != "source"]
        histograms = {name: np.array(found[name], np.int64) for name in names}
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"{file}: expected lists of counts by corpus ({error})") from None
    for name, counts in histograms.items():
        if counts.ndim != 1 or (counts < 0).any():
            raise Refused(f"{file}: {name} is no list of counts")
    return histograms
