"""Multi30k as a TFDS data set: descriptions of pictures in English, German and French."""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from flaxmask.data.sources.files import File, lines
from flaxmask.data.sources.lines import in_step

_UPSTREAM = "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1"
_PARTS = {"train": "train", "validation": "val", "test": "test_2016_flickr"}

# SHA-256 of the uncompressed text.
_RAW = {
    "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
    "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
    "train.fr": "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d",
    "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
    "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
    "val.fr": "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc",
    "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
    "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
    "test_2016_flickr.fr": "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6",
}
_TOKENISED = {
    "train.en": "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
    "train.de": "cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
    "train.fr": "8fa41bb718412bcb7c5dfa58603842810a01543eae86a51279f9886b901266e1",
    "val.en": "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
    "val.de": "97232bd273eceb7207f689527386a97e4be2616b18ada47576bdaf96c8ae1f00",
    "val.fr": "b303e301aa21fe7822a846b2b3fb2d5a1121ec807cd5b1d006fb7b2b5507168a",
    "test_2016_flickr.en": "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2",
    "test_2016_flickr.de": "c6a33d39d48f9f510de147651316cd9d918e09ad0219df734a2f16b6baccacc4",
    "test_2016_flickr.fr": "1463bd5960f9bfe098ec3cd752d3df0c49c84dc646fb518964a29232658cd836",
}


def file_of(split: str, language: str, tokenised: bool = False) -> File:
    """The file of one split in one language."""
    part = _PARTS[split]
    if not tokenised:
        name = f"{part}.{language}.gz"
        return File(f"multi30k/raw/{name}", f"{_UPSTREAM}/raw/{name}", _RAW[f"{part}.{language}"])
    name = f"{part}.lc.norm.tok.{language}"
    return File(f"multi30k/tok/{name}.gz", f"{_UPSTREAM}/tok/{name}", _TOKENISED[f"{part}.{language}"])


def read_pairs(left: File, right: File) -> Iterator[tuple[str, str]]:
    """Sentences of two files side by side.

    Raises:
      Refused: the files differ in length, or cannot be had.
    """
    yield from in_step(lines(left), lines(right), (left, right))


class Multi30k(tfds.core.GeneratorBasedBuilder):
    """Task 1 of Multi30k, translation; the test set is that of 2016 (Flickr)."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012, TFDS's own way
        *(tfds.core.BuilderConfig(name=pair, description="Sentences as published.") for pair in ("en-de", "en-fr")),
        *(
            tfds.core.BuilderConfig(name=f"{pair}-tok", description="Lower case, tokenised by the scripts of Moses.")
            for pair in ("en-de", "en-fr")
        ),
    ]

    def _config(self) -> list[str]:
        """Both languages, and "tok" where it is tokenised."""
        config: Any = self.builder_config
        return config.name.split("-")

    def _info(self) -> tfds.core.DatasetInfo:
        one, other = self._config()[:2]
        return self.dataset_info_from_configs(
            description="English descriptions of pictures and their translations by people.",
            features=tfds.features.FeaturesDict({one: tfds.features.Text(), other: tfds.features.Text()}),
            supervised_keys=(one, other),
            homepage="https://github.com/multi30k/dataset",
            license="For research and non-commercial use; the pictures' terms are Flickr's",
            citation="@inproceedings{elliott2016multi30k, title={Multi30K: Multilingual English-German Image"
            " Descriptions},"
            " author={Elliott, Desmond and Frank, Stella and Sima'an, Khalil and Specia, Lucia},"
            " booktitle={Proceedings of the 5th Workshop on Vision and Language}, pages={70--74}, year={2016}}",
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in _PARTS}

    def _generate_examples(self, split: str):
        one, other, *tok = self._config()
        pairs = read_pairs(file_of(split, one, bool(tok)), file_of(split, other, bool(tok)))
        for number, (left, right) in enumerate(pairs):
            yield number, {one: left, other: right}
