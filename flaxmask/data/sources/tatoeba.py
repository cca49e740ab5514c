"""Tatoeba's English and Chinese sentences as a TFDS data set."""

from collections.abc import Iterable, Iterator

import tensorflow_datasets as tfds

from flaxmask.data.sources.files import File, lines
from flaxmask.data.sources.split import split_of
from flaxmask.names import Refused

EN_ZH = File(
    "tatoeba-cmn-eng/cmn.txt.gz",
    None,
    "d766002332a8f21099afd7427138d44f06bed7486a18f7f0f26f217092667d73",
    # The name of the upstream's archive stays and its content is replaced, so a download would not have this hash.
    origin="cmn.txt in the cmn-eng.zip of 2026-02-13 from manythings.org/anki, which offers its newest edition only",
)


def read_rows(texts: Iterable[str], file: object) -> Iterator[tuple[str, str, str]]:
    """English, Chinese and attribution, separated by tabs.

    Raises:
      Refused: a line has not three columns.
    """
    for number, text in enumerate(texts, start=1):
        columns = text.split("\t")
        if len(columns) != 3:
            raise Refused(
                f"{file}, line {number}: expected English, Chinese and attribution, found {len(columns)} columns"
            )
        yield columns[0], columns[1], columns[2]


class Tatoeba(tfds.core.GeneratorBasedBuilder):
    """Sentence pairs of Tatoeba; 90:5:5 by a hash of the English, so that all its translations stand on one side."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012, TFDS's own way
        tfds.core.BuilderConfig(name="en-zh", description="English and Mandarin, simplified and traditional mixed."),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Short sentences and their translations by volunteers.",
            features=tfds.features.FeaturesDict({key: tfds.features.Text() for key in ("en", "zh", "attribution")}),
            supervised_keys=("en", "zh"),
            homepage="https://tatoeba.org",
            license="CC-BY 2.0 FR; whom to name stands in the feature attribution",
            citation="@misc{tatoeba, title={Tatoeba: Collection of sentences and translations},"
            " howpublished={https://tatoeba.org}, note={selected by manythings.org/anki}, year={2026}}",
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split: str):
        for number, (english, chinese, attribution) in enumerate(read_rows(lines(EN_ZH), EN_ZH)):
            if split_of(english) == split:
                yield number, {"en": english, "zh": chinese, "attribution": attribution}
