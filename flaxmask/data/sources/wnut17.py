"""WNUT 2017, emerging entities, as a TFDS data set: the words of messages and the entities in them."""

from collections.abc import Iterable, Iterator

import tensorflow_datasets as tfds

from flaxmask.data.sources.files import File, lines
from flaxmask.names import Refused

_UPSTREAM = "https://raw.githubusercontent.com/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603/"
FILES = {
    "train": File(
        "wnut17/wnut17train.conll.gz",
        _UPSTREAM + "wnut17train.conll",
        "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
    ),
    "validation": File(
        "wnut17/emerging.dev.conll.gz",
        _UPSTREAM + "emerging.dev.conll",
        "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
    ),
    "test": File(
        "wnut17/emerging.test.annotated.gz",
        _UPSTREAM + "emerging.test.annotated",
        "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
    ),
}
_ENTITIES = ("corporation", "creative-work", "group", "location", "person", "product")
TAGS = ("O", *sorted(f"{place}-{entity}" for place in "BI" for entity in _ENTITIES))


def read_sentences(texts: Iterable[str], file: object) -> Iterator[tuple[list[str], list[str]]]:
    """Words and tags of each sentence, from lines of word, tab and tag.

    A line without anything to see ends a sentence: most such lines of the training file hold one tab.

    Raises:
      Refused: a line has not two columns, or a tag that is none of `TAGS`.
    """
    words: list[str] = []
    tags: list[str] = []
    for number, text in enumerate(texts, start=1):
        if text.strip():
            word, tag = _columns(text, file, number)
            words.append(word)
            tags.append(tag)
        elif words:
            yield words, tags
            words, tags = [], []
    if words:
        yield words, tags


def _columns(text: str, file: object, number: int) -> list[str]:
    columns = text.split("\t")
    if len(columns) != 2:
        raise Refused(f"{file}, line {number}: expected a word, a tab and a tag, found {len(columns)} columns")
    if columns[1] not in TAGS:
        raise Refused(f"{file}, line {number}: {columns[1]!r} is no tag; known: {', '.join(TAGS)}")
    return columns


class Wnut17(tfds.core.GeneratorBasedBuilder):
    """The shared task of WNUT 2017: entities that are rare or new."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        tag = tfds.features.ClassLabel(names=list(TAGS))
        return self.dataset_info_from_configs(
            description="Messages of Twitter, Reddit, YouTube and StackExchange with six kinds of entities, BIO tags.",
            features=tfds.features.FeaturesDict(
                {"tokens": tfds.features.Sequence(tfds.features.Text()), "tags": tfds.features.Sequence(tag)}
            ),
            supervised_keys=("tokens", "tags"),
            homepage="https://github.com/leondz/emerging_entities_17",
            license="CC-BY 4.0",
            citation="@inproceedings{derczynski2017results, title={Results of the WNUT2017 Shared Task on Novel and"
            " Emerging Entity Recognition}, author={Derczynski, Leon and Nichols, Eric and van Erp, Marieke and"
            " Limsopatham, Nut}, booktitle={Proceedings of the 3rd Workshop on Noisy User-generated Text},"
            " pages={140--147}, year={2017}}",
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(file) for split, file in FILES.items()}

    def _generate_examples(self, file: File):
        for number, (words, tags) in enumerate(read_sentences(lines(file), file)):
            yield number, {"tokens": words, "tags": tags}
