"""Pieces of text: sentencepiece's BPE and unigram models, trained in memory and kept by the hash of what made them."""

import contextlib
import hashlib
import io
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import sentencepiece

from flaxmask.data.vocabulary import BOS, EOS, PAD, UNKNOWN
from flaxmask.names import Refused

TRAINING_LINES = 1_000_000
"""The first so many texts are enough to learn pieces from."""

_SPACE = "\u2581"
"""What sentencepiece writes for a space, and so cannot tell from one."""


class Tokenizer(Protocol):
    """Text to ids and back; ids 0 to 3 are padding, beginning, end and unknown."""

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Ids with the end mark."""
        ...

    def unknown(self, text: str) -> list[str]:
        """What of a text becomes the unknown id, each symbol once."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text up to the first end mark."""
        ...

    @property
    def pieces(self) -> tuple[str, ...]:
        """What each id stands for."""
        ...

    @property
    def starts(self) -> bytes:
        """For each id one byte, 1 where it begins a word."""
        ...


class SentencePieces:
    """A trained model of sentencepiece, such that every text comes back as it was.

    Nothing is normalised, no space is added or taken away, what was never seen is written in bytes.

    Raises:
      Refused: the bytes are none of sentencepiece's, or of a model without our marks and a piece for each byte.
    """

    def __init__(self, model: bytes):
        self.model = model
        try:
            if not model:  # which sentencepiece takes, and then has no pieces
                raise RuntimeError("nothing")
            of = self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            self._pieces = tuple(of.id_to_piece(list(range(of.vocab_size()))))
        except (RuntimeError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())[:80]
            raise Refused(f"expected a model of sentencepiece, got {len(model)} other bytes ({reason})") from None
        marks = (of.pad_id(), of.bos_id(), of.eos_id(), of.unk_id())
        known = [of.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        if marks != (PAD, BOS, EOS, UNKNOWN) or UNKNOWN in known:
            raise Refused(
                f"a model of sentencepiece without our marks, or without a piece for each byte: marks {marks}"
            )
        self._space = [known[byte] for byte in _SPACE.encode()]

    def __len__(self) -> int:
        return self._processor.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids with the end mark. A space before the text lets a word be the same piece wherever it stands."""
        first, *rest = (" " + text).split(_SPACE)
        ids = self._processor.encode(first)
        for part in rest:
            ids += self._space + self._processor.encode(part)
        return [*ids, EOS]

    def unknown(self, text: str) -> list[str]:
        """Nothing: what was never seen is written in bytes."""
        return []

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """The pieces of each word, without an end mark; at least one for each."""
        return [self.encode(word)[:-1] for word in words]

    @property
    def pieces(self) -> tuple[str, ...]:
        """What each id stands for, as sentencepiece writes it."""
        return self._pieces

    @property
    def starts(self) -> bytes:
        """For each id one byte, 1 where the piece opens with a space."""
        return bytes(piece.startswith(_SPACE) for piece in self.pieces)

    def decode(self, ids: Sequence[int]) -> str:
        """Text up to the first end mark."""
        ids = list(ids)
        text = self._processor.decode(ids[: ids.index(EOS)] if EOS in ids else ids)
        return text.removeprefix(" ")


def train_pieces(texts: Iterable[str], kind: Literal["bpe", "unigram"], size: int) -> SentencePieces:
    """At most `size` pieces learnt from texts, or read where the same were learnt before.

    Args:
      texts: read once; the first `TRAINING_LINES` count.
      kind: BPE (Sennrich et al. 2016) or unigram (Kudo 2018).
      size: the most pieces, the 256 bytes and 4 marks included.

    Raises:
      Refused: no text, or a size that does not hold the characters.
    """
    texts = [text for text in itertools.islice(texts, TRAINING_LINES) if text.strip()]
    if not texts:
        raise Refused("there is no text to learn a vocabulary from")
    digest = hashlib.sha256(f"{kind} {size} {sentencepiece.__version__}\n".encode())
    for text in texts:
        encoded = text.encode()
        digest.update(b"%d " % len(encoded) + encoded)
    path = cache() / f"{digest.hexdigest()}.model"
    try:
        return SentencePieces(path.read_bytes())
    except (OSError, Refused):  # there is none, or a damaged one
        pieces = SentencePieces(_train(texts, kind, size))
    with contextlib.suppress(OSError):  # where nothing can be kept it is learnt again
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        beside.write_bytes(pieces.model)
        beside.replace(path)  # there whole or not at all, whoever else learns it now
    return pieces


def cache() -> Path:
    """Where trained pieces are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flaxmask" / "tokenizers"


def _train(texts: list[str], kind: str, size: int) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([" " + text for text in texts]),
            model_writer=model,
            model_type=kind,
            vocab_size=size,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            byte_fallback=True,
            required_chars=_SPACE,  # else a text with few spaces has no piece for one
            hard_vocab_limit=kind == "bpe",
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNKNOWN,
            max_sentence_length=1 << 24,
            minloglevel=2,
        )
    except RuntimeError as error:
        fewer = re.search(r"value <= (\d+)", str(error))
        if fewer:  # there is no more to be learnt from so little text
            return _train(texts, kind, int(fewer[1]))
        needed = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
        mend = f"expected at least {needed[1]}, for its characters" if needed else str(error).splitlines()[0]
        raise Refused(f"data.vocabulary_size={size}: {mend}") from error
    return model.getvalue()
