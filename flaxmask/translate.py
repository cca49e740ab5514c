"""A trained model at work: texts out of texts, from a checkpoint."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxmask.answers import in_stages, longest_target, search_of, source_batches, started
from flaxmask.data.tasks import Task
from flaxmask.data.vocabulary import BOS, EOS
from flaxmask.decoding.config import DecodingConfig
from flaxmask.decoding.sampling import Sampler, sample
from flaxmask.experiment import cell_of
from flaxmask.models.audited import EncoderDecoder
from flaxmask.names import Refused
from flaxmask.setting import Setting
from flaxmask.tokens import Array, Tokens
from flaxmask.training.checkpoint import Checkpoints


class Written(NamedTuple):
    """One answer to a text.

    Attributes:
      text: what was written.
      score: the sum of the log-probabilities of its tokens, over their number to the power of the length penalty.
    """

    text: str
    score: float


@dataclasses.dataclass(frozen=True)
class Translator:
    """An encoder-decoder and its task's vocabularies: one language into another, letters into phonemes.

    Attributes:
      task: whose vocabularies are used.
      model: the encoder-decoder.
      params: trained.
      decoding: how its row is judged.
      longest: most tokens of a text, end mark included; longer ones are cut.
    """

    task: Task
    model: Any
    params: Any
    decoding: DecodingConfig
    longest: int

    @classmethod
    def load(cls, checkpoint: Path | str) -> "Translator":
        """Out of `RUN/checkpoints/ROW-SEED`, as it was judged: with the mean of its last epochs where that was asked.

        Raises:
          Refused: there is no such checkpoint, it is of another model, or its task writes no text; the message says.
        """
        run, row, seed, config = cell_of(Path(checkpoint))
        setting = Setting.of(config, seed, len(jax.local_devices()))
        if not isinstance(setting.model, EncoderDecoder):
            raise Refused(f"{row} of {run} has no decoder behind an encoder: it writes no text")
        with Checkpoints(Path(checkpoint), config.training) as saved:
            params = saved.params(jax.eval_shape(setting.state))
        longest = config.data.length or int(setting.task.train.lengths[:, 0].max())
        return cls(setting.task, setting.model, params, config.decoding, longest)

    def translate(
        self,
        texts: Sequence[str],
        decoding: DecodingConfig | None = None,
        nbest: int = 1,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[list[Written]]:
        """The best answers to each text, best first; to an empty one, empty answers.

        Args:
          texts: one a line; what is longer than `longest` tokens is cut, see `cut`.
          decoding: None searches as the row was judged.
          nbest: how many of each; at most as many as there are beams.
          progress: called with the number of texts that are done.

        Raises:
          Refused: more answers than beams.
        """
        how = decoding or self.decoding
        if not 1 <= nbest <= how.beams:
            raise Refused(
                f"nbest: expected at least 1 and at most decoding.beams={how.beams}, got {nbest}: set decoding.beams"
            )
        answers = [[Written("", 0.0)] * nbest for _ in texts]
        search = search_of(how, longest_target(self.task), scores=True)
        run = lambda source, _: in_stages(self.model, search, self.params, source)
        for place, found in self._batches(texts, run, progress):
            scores = np.asarray(found.scores)
            for line, ids, score in zip(place, np.asarray(found.ids), scores, strict=False):
                best = zip(ids[:nbest].tolist(), score[:nbest].tolist(), strict=True)
                answers[line] = [Written(self.task.target_vocabulary.decode(row), of) for row, of in best]
        return answers

    def generate(
        self,
        source: str | Sequence[str],
        max_length: int = 50,
        temperature: float = 1.0,
        top_k: int = 50,
        top_p: float = 1.0,
        *,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
    ) -> Any:
        """Draw an answer to a text, or to each of several: see `decoding.sampling.Sampler`.

        What is drawn for a text is a function of the seed and of its place among the texts alone.

        Args:
          source: a text, or several.
          max_length: most tokens of an answer, end mark included.
          temperature: 0 takes the likeliest token at every step.
          top_k: how many tokens are drawn from; 0 leaves all.
          top_p: share of the probability that is drawn from.
          min_p: least share of the likeliest token's probability.
          repetition_penalty: 1 punishes nothing.
          seed: of the draws.

        Returns:
          A text, or a list of texts.
        """
        sampler = Sampler(repetition_penalty, temperature, top_k, top_p, min_p).check()
        texts = [source] if isinstance(source, str) else list(source)
        answers = [""] * len(texts)
        key = jax.random.key(seed)

        def run(source: Tokens, place: list[int]) -> Array:
            # Empty rows at the end have keys of their own, and are not looked at.
            numbers = np.array([*place, *range(len(texts), len(texts) + source.shape[0] - len(place))], np.uint32)
            return _sample(self.model, max_length, sampler, self.params, source, key, numbers)

        for place, found in self._batches(texts, run):
            for line, ids in zip(place, np.asarray(found)[:, 0].tolist(), strict=False):
                answers[line] = self.task.target_vocabulary.decode(ids)
        return answers[0] if isinstance(source, str) else answers

    def cut(self, texts: Sequence[str]) -> list[int]:
        """Numbers of the lines, from 1, that are longer than the model reads."""
        return [line for line, text in enumerate(texts, start=1) if len(self._encode(text)) > self.longest]

    def unknown(self, texts: Sequence[str]) -> dict[int, list[str]]:
        """Of lines, numbered from 1, what the vocabulary does not know: all of it is one and the same to the model."""
        found = {line: self.task.source_vocabulary.unknown(text) for line, text in enumerate(texts, 1) if text.strip()}
        return {line: symbols for line, symbols in found.items() if symbols}

    def _encode(self, text: str) -> list[int]:
        return self.task.source_vocabulary.encode(text)

    def _batches(self, texts: Sequence[str], run: Callable[[Tokens, list[int]], Any], progress=lambda done: None):
        """What `run` makes of batches of the texts that are not empty, and which these are."""
        ids = {line: self._encode(text) for line, text in enumerate(texts) if text.strip()}
        lines = list(ids)
        sources = [
            np.array([*i[: self.longest - 1], EOS] if len(i) > self.longest else i, np.int32) for i in ids.values()
        ]
        done = len(texts) - len(lines)
        progress(done)
        for examples, source in source_batches(sources) if sources else ():
            place = [lines[i] for i in examples]
            yield place, run(source, place)
            done += len(place)
            progress(done)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _sample(model: Any, length: int, sampler: Sampler, params: Any, source: Tokens, key: Any, numbers: Array) -> Array:
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
    return sample(*started(model, params, source, length), keys, length, sampler, bos=BOS, eos=EOS)
