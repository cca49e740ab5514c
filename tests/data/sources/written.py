"""Data sets written as TFDS would write them, for tests to read."""

from pathlib import Path

import tensorflow_datasets as tfds


def write(folder: Path, name: str, features: tfds.features.FeaturesDict, records: list[dict], **options) -> None:
    """`records` as splits "train" and "test" of the data set `name`, such as "glue/sst2", in a TFDS folder.

    `options`: `version` and `file_format`.
    """
    key, _, config = name.partition("/")
    number = options.pop("version", "1.0.0")

    class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(number)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            del dl_manager
            return {split: enumerate(records) for split in ("train", "test")}

        def _generate_examples(self):
            raise NotImplementedError

    Written.name = key
    Written(data_dir=folder, file_format=options.pop("file_format", "array_record")).download_and_prepare()
    assert not options
