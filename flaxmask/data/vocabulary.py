"""Vocabularies of symbols: letters, phonemes, anything that can be listed."""

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
    def build(cls, texts: Iterable[str], separator: str = "") -> "Vocabulary":
        """Every symbol of `texts`, sorted."""
        empty = cls((), separator)
        return cls(tuple(sorted({symbol for text in texts for symbol in empty.split(text)})), separator)

    def __len__(self) -> int:
        return len(SPECIALS) + len(self.symbols)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols, start=len(SPECIALS))}

    def split(self, text: str) -> list[str]:
        """The symbols of a text."""
        return text.split(self.separator) if self.separator else list(text)

    def encode(self, text: str) -> list[int]:
        """Ids with the end mark; what is not listed becomes `UNKNOWN`."""
        return [self._ids.get(symbol, UNKNOWN) for symbol in self.split(text)] + [EOS]

    def decode(self, ids: Sequence[int]) -> str:
        """Text up to the first end mark; padding and the beginning are left out."""
        ids = list(ids)
        ids = ids[: ids.index(EOS)] if EOS in ids else ids
        names = (*SPECIALS, *self.symbols)
        return self.separator.join(names[i] for i in ids if i not in (PAD, BOS))
