"""No code comes out of what is read: no module here has a way to it, and what others have is not asked for."""

import ast
import gzip
import io
import re
import sys
import zipfile
from pathlib import Path

import pytest

import flaxmask

ROOT = Path(flaxmask.__file__).parent.parent
SOURCES = [*sorted((ROOT / "flaxmask").rglob("*.py")), *sorted((ROOT / "experiments").glob("*.py")), ROOT / "run.py"]

MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "pty", "code"),
    *("tarfile", "xml", "jsonpickle", "msgpack", "runpy", "imp", "torch", "numpy.lib.format"),
}
"""Of which some function runs, or unpacks to where it is told, what it reads."""
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv"),
    *("importlib.import_module", "subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output"),
    *("extractall", "extract", "unpack_archive", "fromfile", "getattr", "urlopen", "urlretrieve"),
}
ALLOWED = {
    ("run.py", "os.execv"): "itself again, with another allocator",
    ("flaxmask/provenance.py", "subprocess.run"): "git, with arguments of ours",
    ("flaxmask/experiment.py", "importlib.import_module"): "a page of experiments/, by a name that is listed there",
    ("flaxmask/probe.py", "importlib.import_module"): "a module of experiments/ that a page names, when its cells run",
    ("flaxmask/reporting/tracking.py", "importlib.import_module"): "wandb and tensorboardX, by names of ours",
    ("flaxmask/__init__.py", "importlib.import_module"): "names of ours, late",
    ("flaxmask/masks/__init__.py", "importlib.import_module"): "names of ours, late",
    ("flaxmask/data/sources/__init__.py", "importlib.import_module"): "names of ours, late",
    ("flaxmask/attention/__init__.py", "importlib.import_module"): "names of ours, late",
    ("flaxmask/audit/__init__.py", "importlib.import_module"): "names of ours, late",
}


def found(tree: ast.AST) -> set[str]:
    """Modules, calls and flags that are on one of the lists."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if {alias.name, alias.name.split(".")[0]} & MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {node.module, node.module.split(".")[0], *(f"{node.module}.{alias.name}" for alias in node.names)}
            names |= whole & (MODULES | CALLS)
        elif isinstance(node, ast.Call):
            whole = ast.unparse(node.func)
            bare = whole.rpartition(".")[2]
            plain = {"eval", "exec", "compile", "__import__"}
            names |= {whole} & (CALLS - {"getattr"}) | ({bare} & CALLS - plain - {"getattr"} if "." in whole else set())
            names |= {"allow_pickle"} & {
                keyword.arg
                for keyword in node.keywords
                if not (isinstance(v := keyword.value, ast.Constant) and v.value is False)
            }
            if whole == "np.load" and "allow_pickle" not in {keyword.arg for keyword in node.keywords}:
                names.add("np.load without allow_pickle=False")
    return names


def test_nothing_here_runs_what_it_reads():
    assert len(SOURCES) > 100
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        for one in found(ast.parse(path.read_text(encoding="utf-8"))):
            assert (name, one) in ALLOWED, f"{name}: {one}"


@pytest.mark.parametrize(
    "program",
    [
        *(
            "import pickle",
            "from pickle import loads",
            "import yaml",
            "import numpy.lib.format",
            "eval('1')",
            "exec(x)",
        ),
        *("np.load(f, allow_pickle=True)", "np.load(f)", "import os\nos.system('x')", "from os import system"),
        *(
            "__import__('os')",
            "zipfile.ZipFile(f).extractall()",
            "from subprocess import run",
            "compile(x, '', 'exec')",
        ),
        *("import shutil\nshutil.unpack_archive(x)", "urllib.request.urlopen(x)", "import joblib", "import marshal"),
    ],
)
def test_the_test_sees_it(program):
    assert found(ast.parse(program))


def test_every_published_file_is_https_with_a_digest():
    """Of every builder; that others are refused, see `data/sources/test_files.py`."""
    from flaxmask.data.sources import (
        cmudict,
        length_histograms,
        multi30k,
        sentence_polarity,
        tatoeba,
        wikitext2,
        wnut17,
    )
    from flaxmask.data.sources.files import File

    modules = (cmudict, length_histograms, multi30k, sentence_polarity, tatoeba, wikitext2, wnut17)
    named = {value for module in modules for value in _files(vars(module), File)}
    named |= {
        multi30k.file_of(split, language, tok)
        for split in multi30k._PARTS
        for language in ("en", "de", "fr")
        for tok in (False, True)
    }
    assert len(named) >= 18 + 3 + 3 + 4 + 3
    for file in named:
        assert file.url is None or file.url.startswith("https://"), file
        assert file.url or file.origin, file
        assert len(file.sha256) == 64, file


def _files(values: dict, kind: type):
    for value in values.values():
        if isinstance(value, kind):
            yield value
        elif isinstance(value, dict):
            yield from _files(value, kind)


def test_all_builders_are_looked_at():
    from flaxmask.data import sources

    assert set(sources.BUILDERS) == {"cmudict", "multi30k", "tatoeba", "wnut17", "sentence_polarity", "wikitext2"}
    names = {
        path.stem
        for path in (ROOT / "flaxmask" / "data" / "sources").glob("*.py")
        if re.search(r"\bFile\(", path.read_text())
    }
    assert names == {*sources.BUILDERS, "length_histograms"}


PLANTED = "raise SystemExit('it was imported')"


@pytest.mark.parametrize(
    "feature",
    [
        {"pythonClassName": "planted.Feature"},
        {"python_class_name": "planted.Feature", "text": {}},
        {"type": "planted.Feature", "content": {}},
        {
            "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
            "featuresDict": {"features": {"text": {"pythonClassName": "planted.Feature", "text": {}}}},
        },
        {
            "type": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
            "proto_cls": "tensorflow_datasets.FeaturesDict",
            "content": '{"features": {"text": {"\\u0070ythonClassName": "planted.Feature"}}}',
        },
    ],
)
def test_a_prepared_data_set_imports_nothing(tmp_path, monkeypatch, feature):
    """TFDS imports the module of whatever class `features.json` names."""
    import json

    import tensorflow_datasets as tfds

    from flaxmask.data.sources import open_split
    from flaxmask.names import Refused
    from tests.data.sources.written import write

    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    write(tmp_path / "tfds", "kind", tfds.features.FeaturesDict({"text": tfds.features.Text()}), [{"text": "a"}])
    assert len(open_split("kind", "train")) == 1
    place = tmp_path / "tfds" / "kind" / "1.0.0"
    (place / "features.json").write_text(json.dumps(feature))
    with pytest.raises(Refused, match=r"'planted.Feature' is no feature of TFDS's own") as caught:
        open_split("kind", "train")
    assert "\n" not in str(caught.value)
    assert "planted" not in sys.modules
    with pytest.raises(SystemExit, match="it was imported"):  # as it would be
        tfds.builder_from_directory(place)


@pytest.mark.parametrize("name", ["../kind", "/etc", "glue/../../kind", "..", "kind:.."])
def test_a_data_set_lies_where_data_sets_lie(tmp_path, monkeypatch, name):
    from flaxmask.data.sources import open_split
    from flaxmask.names import Refused

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    (tmp_path / "kind").mkdir()
    with pytest.raises(Refused, match="expected the name of a data set"):
        open_split(name, "train")


def _zip(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name.replace("__", "/"))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o120777 << 16) if "link" in name else 0
            file.writestr(info, content)
    return packed.getvalue()


def test_an_archive_does_not_climb_out(tmp_path, monkeypatch):
    """Its members are read into memory by two names of ours; tar is not read at all (see `MODULES`)."""
    from flaxmask.data.sources.sentence_polarity import read_archive

    monkeypatch.chdir(tmp_path)
    two = {f"sentence_polarity__rt-polarity.{end}": b"a film\n" for end in ("neg", "pos")}
    more = {"..__..__climbed": b"x", "__tmp__climbed": b"x", "link": b"/etc/passwd", "C:\\\\climbed": b"x"}
    assert list(read_archive(_zip(**two, **more), "zip")) == [("a film", "negative"), ("a film", "positive")]
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_is_a_bomb(monkeypatch):
    from flaxmask.data.sources import sentence_polarity
    from flaxmask.names import Refused

    monkeypatch.setattr(sentence_polarity, "MOST", 1 << 20)
    bomb = _zip(**{f"sentence_polarity__rt-polarity.{end}": bytes(1 << 21) for end in ("neg", "pos")})
    with pytest.raises(Refused, match="more than 1 MiB"):
        list(sentence_polarity.read_archive(bomb, "zip"))


def test_a_line_without_end(tmp_path, monkeypatch):
    from flaxmask.data.sources import plain
    from flaxmask.names import Refused

    monkeypatch.setattr(plain, "LONGEST", 1 << 20)
    (tmp_path / "bomb.txt.gz").write_bytes(gzip.compress(b"a\n" + b"b" * (1 << 22)))
    with pytest.raises(Refused, match="a line of more than 1 MiB, after 2 bytes"):
        plain.open_plain(str(tmp_path / "bomb.txt.gz"), "train")


@pytest.mark.parametrize("model", [b"", b"\0", b"garbage" * 99, b"\xff" * 999], ids=["nothing", "NUL", "text", "bytes"])
def test_a_tokenizer_s_garbage(model):
    from flaxmask.data.tokenizers import SentencePieces
    from flaxmask.names import Refused

    with pytest.raises(Refused, match="expected a model of sentencepiece") as caught:
        SentencePieces(model)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_was_tampered_with_is_learnt_again(tmp_path, monkeypatch):
    import sentencepiece

    from flaxmask.data import tokenizers

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    texts = ["the cat sat on the mat", "a dog ran"] * 9
    first = tokenizers.train_pieces(texts, "bpe", 300)
    [kept] = (tmp_path / "flaxmask" / "tokenizers").iterdir()
    other = io.BytesIO()  # a model of other marks
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=other, vocab_size=20, hard_vocab_limit=False, minloglevel=2
    )
    for content in (b"", first.model[:-40], b"\xff" * 99, other.getvalue()):
        kept.write_bytes(content)
        assert tokenizers.train_pieces(texts, "bpe", 300).model == first.model
        assert kept.read_bytes() == first.model
