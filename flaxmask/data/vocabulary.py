"""Vocabularies of symbols: letters, phonemes, words, anything that can be listed."""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Sequence

PAD, BOS, EOS, UNKNOWN = 0, 1, 2, 3
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Symbols and their ids; 0 to 3 are padding, beginning, end and unknown.

    Attributes:
      symbols: in the order of their ids, from 4.
      separator: what stands between symbols in text; "" for characters.
    """

    symbols: tuple[str, ...]
    separator: str = ""

    @classmethod
    def build(cls, texts: Iterable[str], separator: str = "", size: int | None = None) -> "Vocabulary":
        """The symbols of `texts`, sorted; where they are more than `size` holds, the commonest."""
        split = cls((), separator).split
        counts = collections.Counter(symbol for text in texts for symbol in split(text))
        most = None if size is None else size - len(SPECIALS)
        # Of equally common ones the first in the alphabet, so that the order of the texts does not matter.
        chosen = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))[:most]
        return cls(tuple(sorted(chosen)), separator)

    def __len__(self) -> int:
        return len(SPECIALS) + len(self.symbols)

    @property
    def pieces(self) -> tuple[str, ...]:
        """What each id stands for."""
        return (*SPECIALS, *self.symbols)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols, start=len(SPECIALS))}

    def split(self, text: str) -> list[str]:
        """The symbols of a text."""
        return text.split(self.separator) if self.separator else list(text)

    def encode(self, text: str) -> list[int]:
        """Ids with the end mark; what is not listed becomes `UNKNOWN`."""
        return [self._ids.get(symbol, UNKNOWN) for symbol in self.split(text)] + [EOS]

    def unknown(self, text: str) -> list[str]:
        """The symbols of a text that are not listed, each once."""
        return [symbol for symbol in dict.fromkeys(self.split(text)) if symbol not in self._ids]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """The ids of each word, without an end mark; at least one for each."""
        return [self.encode(word)[:-1] or [UNKNOWN] for word in words]

    @property
    def starts(self) -> bytes:
        """For each id one byte, 1 where it begins a word; of characters the space does, as in pieces."""
        return bytes(bool(self.separator) or symbol == " " for symbol in self.pieces)

    def decode(self, ids: Sequence[int]) -> str:
        """Text up to the first end mark; padding and the beginning are left out."""
        ids = list(ids)
        ids = ids[: ids.index(EOS)] if EOS in ids else ids
        pieces = self.pieces
        return self.separator.join(pieces[i] for i in ids if i not in (PAD, BOS))
