"""WikiText-2 as a TFDS data set: articles of Wikipedia, rare words replaced, one line a record."""

from typing import Any

import tensorflow_datasets as tfds

from flaxmask.data.sources.files import File, lines

_REPOSITORY = "https://raw.githubusercontent.com/pytorch/examples"
_FOLDER = "word_language_model/data/wikitext-2"
_HELD_OUT = {
    "validation": File(
        "wikitext-2/valid.txt.xz",
        f"{_REPOSITORY}/77f55b912142/{_FOLDER}/valid.txt",
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
    ),
    "test": File(
        "wikitext-2/test.txt.xz",
        f"{_REPOSITORY}/77f55b912142/{_FOLDER}/test.txt",
        "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    ),
}
TRAIN = {
    "canonical": File(
        "wikitext-2/canonical/train.txt",
        f"{_REPOSITORY}/main/{_FOLDER}/train.txt",
        "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
    ),
    "rebuilt": File(
        "wikitext-2/train.txt.xz",
        None,
        "66cab4925775a4e879073a8809ad96e68002b07c4f6937d66ccb5bc5cd0fbd2a",
        origin="the articles of WikiText-2's training text, put together again in another order",
    ),
}


def files_of(config: str) -> dict[str, File]:
    """The file of each split."""
    return {"train": TRAIN[config], **_HELD_OUT}


class Wikitext2(tfds.core.GeneratorBasedBuilder):
    """WikiText-2. Empty lines and headings are part of the text and stay, so that perplexities compare."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012, TFDS's own way
        tfds.core.BuilderConfig(name="canonical", description="As published: 2,051,910 training words."),
        tfds.core.BuilderConfig(
            name="rebuilt",
            description="The training articles in another order, 2,054,977 words; a few short headings of the"
            " validation text may be among them. Not for comparison with published perplexities.",
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Good and featured articles of the English Wikipedia, tokenised, rare words as <unk>.",
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
            supervised_keys=None,
            disable_shuffling=True,  # a line follows from the one before it
            homepage="https://arxiv.org/abs/1609.07843",
            license="CC BY-SA 3.0",
            citation="@inproceedings{merity2017pointer, title={Pointer Sentinel Mixture Models}, author={Merity,"
            " Stephen and Xiong, Caiming and Bradbury, James and Socher, Richard}, booktitle={ICLR}, year={2017}}",
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        config: Any = self.builder_config
        return {split: self._generate_examples(file) for split, file in files_of(config.name).items()}

    def _generate_examples(self, file: File):
        for number, line in enumerate(lines(file)):
            yield number, {"text": line}
