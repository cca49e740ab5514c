"""Sentence polarity as a TFDS data set: sentences of film reviews, negative and positive."""

import io
import zipfile
import zlib
from collections.abc import Iterator

import tensorflow_datasets as tfds

from flaxmask.data.sources.files import MOST, File, content
from flaxmask.data.sources.lines import decode_all
from flaxmask.data.sources.split import split_of
from flaxmask.names import Refused

ARCHIVE = File(
    "sentence-polarity/sentence_polarity.zip",
    "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/sentence_polarity.zip",
    "6e1ed4405b65c7eabf1d199a7f7c437091ac21da0ea7467b410a74062574566b",
)
MEMBERS = {"negative": "rt-polarity.neg", "positive": "rt-polarity.pos"}


def read_archive(packed: bytes, name: object) -> Iterator[tuple[str, str]]:
    """Sentences and their labels, the negative ones first.

    The first edition was Latin-1; this archive is UTF-8, as its README says, so Latin-1 would turn é into Ã©.

    Raises:
      Refused: it is no archive, or a member is missing.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            texts = {label: _member(archive, f"sentence_polarity/{member}") for label, member in MEMBERS.items()}
    except (zipfile.BadZipFile, zlib.error, LookupError, ValueError, OSError, EOFError, RuntimeError) as error:
        reason = " ".join(str(error.args[0] if error.args else error).split())
        raise Refused(f"{name}: expected a zip with {' and '.join(MEMBERS.values())} ({reason})") from None
    for label, text in texts.items():
        for line in decode_all(text, f"{name}, {MEMBERS[label]}"):
            yield line.rstrip(" "), label


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read into memory: nothing is unpacked to where a member's name says."""
    if archive.getinfo(name).file_size > MOST:
        raise ValueError(f"{name}: more than {MOST >> 20} MiB")
    return archive.read(name)


class SentencePolarity(tfds.core.GeneratorBasedBuilder):
    """Sentences by Pang and Lee (2005), 80:10:10 by a hash of the sentence."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        label = tfds.features.ClassLabel(names=list(MEMBERS))
        return self.dataset_info_from_configs(
            description="Sentences of film reviews on Rotten Tomatoes, lower case, tokenised, half of each kind.",
            features=tfds.features.FeaturesDict({"text": tfds.features.Text(), "label": label}),
            supervised_keys=("text", "label"),
            homepage="https://www.cs.cornell.edu/people/pabo/movie-review-data/",
            license="CC-BY 4.0",
            citation="@inproceedings{pang2005seeing, title={Seeing Stars: Exploiting Class Relationships for Sentiment"
            " Categorization with Respect to Rating Scales}, author={Pang, Bo and Lee, Lillian},"
            " booktitle={Proceedings of the 43rd Annual Meeting of the ACL}, pages={115--124}, year={2005}}",
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split: str):
        for number, (text, label) in enumerate(read_archive(content(ARCHIVE), ARCHIVE)):
            if split_of(text, held_out=10) == split:
                yield number, {"text": text, "label": label}
