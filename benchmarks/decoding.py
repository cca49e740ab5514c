"""Decoding: ours beside what a user would pick instead, with the same weights, in one run.

    python benchmarks/decoding.py RUN/checkpoints/ROW-SEED [--out benchmarks/results/decoding.json]

The checkpoint is of the experiment `multi30k`; the sources are the sentences that it is judged on, as ids, and the
answers are ids too. The peers: CTranslate2 in float32, in the best of several settings, and `torch.nn.Transformer`
without a cache, as one writes it by hand, on batches sorted by length. Greedy and beam search, two threads each; the
shortest of three runs after one that compiles (torch, which compiles nothing and takes minutes: one run). A token is
an id of an answer, its end mark included.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch

from flaxmask.answers import longest_target, sources_of, write
from flaxmask.data.vocabulary import BOS, EOS, PAD
from flaxmask.decoding.config import DecodingConfig
from flaxmask.export import to_ctranslate2
from flaxmask.translate import Translator

THREADS = 2
BEAMS = 5
ROWS = 128
"""Sources of a batch of torch's, at most."""

DECODERS = ("flaxmask", "CTranslate2", "torch, no cache")

Answers = list[list[int]]


def best_of(call: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """The shortest of several calls, and what the last one gave; of several, one before them does not count."""
    found = []
    if times > 1:
        call()
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        found.append(time.perf_counter() - start)
    return min(found), result


def until_end(ids: Sequence[int]) -> list[int]:
    """Ids before the end mark."""
    ids = list(ids)
    return ids[: ids.index(EOS)] if EOS in ids else [i for i in ids if i != PAD]


def ours(translator: Translator, sources: Sequence[np.ndarray], beams: int) -> Answers:
    """Greedy decoding, or a beam search."""
    how = DecodingConfig(beams=beams)
    written = write(translator.task, translator.model, translator.params, sources, how)
    return [until_end(ids.tolist()) for ids in written]


class CTranslate2:
    """The same weights in its format."""

    def __init__(self, translator: Translator, directory: Path):
        to_ctranslate2(translator, directory)
        self.directory = directory
        self.read = translator.task.source_vocabulary.pieces
        self.ids = {piece: i for i, piece in enumerate(translator.task.target_vocabulary.pieces)}
        self.length = longest_target(translator.task)

    def best(self, sources: Sequence[np.ndarray], beams: int) -> tuple[float, Answers, dict[str, int]]:
        """The shortest time of several settings, its answers and the setting."""
        import ctranslate2

        texts = [[self.read[i] for i in ids[:-1]] for ids in sources]
        found = []
        # Two threads inside one batch were 4 to 50 times slower here than two batches of a thread each.
        threads = {"inter_threads": THREADS, "intra_threads": 1}
        model = ctranslate2.Translator(str(self.directory), compute_type="float32", **threads)
        for rows in (16, 32, 64):
            how = {"beam_size": beams, "max_decoding_length": self.length, "max_batch_size": rows}
            how["min_decoding_length"] = 0  # at 1 the end mark is taken out of the first token's distribution
            seconds, out = best_of(lambda how=how: model.translate_batch(texts, **how))
            answers = [[self.ids[piece] for piece in one.hypotheses[0]] for one in out]
            found.append((seconds, answers, threads | {"max_batch_size": rows}))
        return min(found, key=lambda one: one[0])


class Torch:
    """`torch.nn.Transformer` with the same weights; every step computes the whole prefix anew."""

    def __init__(self, translator: Translator):
        config = translator.model.config
        assert config.norm == "post", "the weights are put into a post-norm Transformer"
        params = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), translator.params["params"])
        self.embedding = params["target_embedder"]["embedding"]
        self.scale = config.d_model**0.5
        self.length = longest_target(translator.task)
        how = {"dropout": 0.0, "batch_first": True, "layer_norm_eps": 1e-6}
        self.model = torch.nn.Transformer(
            config.d_model, config.heads, config.encoder_layers, config.decoder_layers, config.d_ffn, **how
        )
        self.model.encoder.norm = self.model.decoder.norm = None
        for side in ("encoder", "decoder"):
            for number, layer in enumerate(getattr(self.model, side).layers):
                _fill(layer, params[f"{side}_{number}"])
        self.model.eval()
        self.positions = self._sinusoids(1024, config.d_model)

    @staticmethod
    def _sinusoids(count: int, width: int) -> torch.Tensor:
        frequencies = 10_000.0 ** (-torch.arange(width // 2) / (width // 2 - 1))
        angles = torch.arange(count)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.embedding[ids] * self.scale + self.positions[: ids.shape[1]]

    def _next(self, written: torch.Tensor, memory: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the next token."""
        length = written.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).triu(1)
        x = self.model.decoder(self._embed(written), memory, causal, memory_key_padding_mask=hidden)
        logits = x[:, -1] @ self.embedding.T
        logits[:, PAD] = -torch.inf
        return logits.log_softmax(-1)

    @torch.inference_mode()
    def write(self, sources: Sequence[np.ndarray], beams: int) -> Answers:
        """Sorted by length, in batches."""
        order = np.argsort([-len(ids) for ids in sources], kind="stable")
        answers: Answers = [[] for _ in sources]
        rows = max(1, ROWS // beams)
        for part in np.split(order, range(rows, len(order), rows)):
            batch = torch.nn.utils.rnn.pad_sequence([torch.tensor(sources[i]) for i in part], batch_first=True)
            hidden = batch == PAD
            memory = self.model.encoder(self._embed(batch), src_key_padding_mask=hidden)
            found = (self._greedy if beams == 1 else self._beam)(memory, hidden, beams)
            for i, ids in zip(part, found, strict=True):
                answers[i] = until_end(ids)
        return answers

    def _greedy(self, memory: torch.Tensor, hidden: torch.Tensor, beams: int) -> Answers:
        written = torch.full((len(memory), 1), BOS)
        ended = torch.zeros(len(memory), dtype=torch.bool)
        while written.shape[1] <= self.length and not ended.all():
            best = self._next(written, memory, hidden).argmax(-1).masked_fill(ended, PAD)
            written = torch.cat([written, best[:, None]], dim=1)
            ended |= best == EOS
        return written[:, 1:].tolist()

    def _beam(self, memory: torch.Tensor, hidden: torch.Tensor, beams: int) -> Answers:
        batch = len(memory)
        memory, hidden = memory.repeat_interleave(beams, 0), hidden.repeat_interleave(beams, 0)
        written = torch.full((batch * beams, 1), BOS)
        total = torch.full((batch, beams), -torch.inf)
        total[:, 0] = 0.0
        ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(batch)]
        first = torch.arange(batch)[:, None] * beams
        for step in range(1, self.length + 1):
            values, ids = self._next(written, memory, hidden).view(batch, beams, -1).topk(2 * beams)
            sums, best = (total[..., None] + values).view(batch, -1).topk(2 * beams)
            parents, ids = best // (2 * beams), ids.view(batch, -1).gather(1, best)
            for b, k in (ids[:, :beams] == EOS).nonzero().tolist():
                if len(ended[b]) < beams and sums[b, k] > -torch.inf:
                    ended[b].append((sums[b, k].item() / step, written[first[b, 0] + parents[b, k], 1:].tolist()))
            total, on = sums.masked_fill(ids == EOS, -torch.inf).topk(beams)
            parents = (first + parents.gather(1, on)).view(-1)
            written = torch.cat([written[parents], ids.gather(1, on).view(-1, 1)], dim=1)
            if all(len(one) == beams for one in ended):
                break
        cut = written.view(batch, beams, -1)[:, 0, 1:].tolist()
        return [max(one)[1] if one else rest for one, rest in zip(ended, cut, strict=True)]


def _fill(layer: Any, params: dict[str, Any]):
    """One layer's weights; kernels are `[in, ..., out]` or `[in, heads, size]` with us, `[out, in]` there."""
    attentions = {"self_attn": "self_attention", "multihead_attn": "cross_attention"}
    norms = {"norm1": "self_norm", "norm2": "cross_norm" if "cross_norm" in params else "ffn_norm", "norm3": "ffn_norm"}
    linear = lambda part: part["kernel"].reshape(-1, part["bias"].numel()).T
    with torch.no_grad():
        for theirs, name in attentions.items():
            if name in params:
                parts = [params[name][part] for part in ("query", "key", "value")]
                attention = getattr(layer, theirs)
                attention.in_proj_weight.copy_(torch.cat([linear(part) for part in parts]))
                attention.in_proj_bias.copy_(torch.cat([part["bias"].reshape(-1) for part in parts]))
                attention.out_proj.weight.copy_(linear(params[name]["out"]))
                attention.out_proj.bias.copy_(params[name]["out"]["bias"])
        for theirs, name in norms.items():
            if hasattr(layer, theirs):
                getattr(layer, theirs).weight.copy_(params[name]["scale"])
                getattr(layer, theirs).bias.copy_(params[name]["bias"])
        for theirs, name in (("linear1", "expand"), ("linear2", "contract")):
            getattr(layer, theirs).weight.copy_(linear(params[name]))
            getattr(layer, theirs).bias.copy_(params[name]["bias"])


def measure(translator: Translator, sources: Sequence[np.ndarray], ctranslate2: CTranslate2, torch_: Torch, beams: int):
    """Tokens a second of each, the ratio of ours to each, and the share of its answers that are ours."""
    found: dict[str, tuple[float, Answers]] = {}
    us, theirs, by_hand = DECODERS
    found[us] = best_of(lambda: ours(translator, sources, beams))
    seconds, answers, setting = ctranslate2.best(sources, beams)
    found[theirs] = (seconds, answers)
    found[by_hand] = best_of(lambda: torch_.write(sources, beams), 1)
    rate = {name: sum(len(ids) + 1 for ids in answers) / seconds for name, (seconds, answers) in found.items()}
    same = lambda answers: float(np.mean([a == b for a, b in zip(answers, found[us][1], strict=True)]))
    return [
        {
            "search": "greedy" if beams == 1 else f"beam {beams}",
            "decoder": name,
            "seconds": round(found[name][0], 3),
            "tokens_per_second": round(rate[name]),
            "ours_to_it": round(rate[us] / rate[name], 2),
            "identical": round(same(found[name][1]), 4),
            **({"setting": setting} if name == theirs else {}),
        }
        for name in found
    ]


def show(rows: Sequence[dict[str, Any]]):
    """One line a decoder."""
    for row in rows:
        rate = f"{row['tokens_per_second']:>8,} tokens/s, ours {row['ours_to_it']:.2f} times as fast"
        print(f"{row['search']:8} {row['decoder']:16} {rate}, {row['identical']:.1%} of answers identical", flush=True)


def main():
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    translator = Translator.load(options.checkpoint)
    sources = sources_of(translator.task)
    with tempfile.TemporaryDirectory() as room:
        peers = CTranslate2(translator, Path(room) / "model"), Torch(translator)
        rows = []
        for beams in (1, BEAMS):
            rows += measure(translator, sources, *peers, beams)
            show(rows[-len(DECODERS) :])
    versions = {name: importlib.metadata.version(name) for name in ("jax", "ctranslate2", "torch")}
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "versions": versions}
    found = {"machine": machine, "sources": len(sources), "rows": rows}
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
