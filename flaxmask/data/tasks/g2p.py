"""Letters to phonemes, without stress. A word's pronunciations are all right, whichever is given."""

import itertools

from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples, pair_row
from flaxmask.data.tasks.task import Reader, Task
from flaxmask.data.vocabulary import Vocabulary

_ARPABET = """
AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH
"""
ARPABET = tuple(_ARPABET.split())
LETTERS = tuple("'-.abcdefghijklmnopqrstuvwxyz")
_WITHOUT_STRESS = str.maketrans("", "", "012")


def grapheme_to_phoneme(config: DataConfig) -> Task:
    """One example for each pronunciation; in evaluation one for each word, with its first as the target."""
    reader = Reader(config)
    letters, phonemes = Vocabulary(LETTERS), Vocabulary(ARPABET, " ")
    encode = lambda word, pronunciation: (letters.encode(word), phonemes.encode(pronunciation))
    pairs = lambda split, most=None: (
        (reader.text(word).lower(), reader.text(pronunciation).translate(_WITHOUT_STRESS))
        for word, pronunciation in reader.records(split, most)
    )

    pronunciations: dict[str, list[str]] = {}
    for word, pronunciation in pairs(config.judged_by):
        pronunciations.setdefault(word, []).append(pronunciation)
    first = dict(itertools.islice(pronunciations.items(), config.evaluation_examples))
    sizes = len(letters), len(phonemes)
    rows = lambda found: (pair_row(*encode(*pair), config.length, config.shift) for pair in found)
    return Task(
        train=Examples.of_rows(reader.short(rows(pairs("train", config.train_examples))), sizes),
        evaluation=Examples.of_rows(rows((word, said[0]) for word, said in first.items()), sizes),
        references=list(first.values()),
        source_vocabulary=letters,
        target_vocabulary=phonemes,
        skipped=reader.skipped,
        answers=int(config.shift),
    )
