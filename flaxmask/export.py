"""A trained Transformer in the format of CTranslate2, which serves it without jax."""

from pathlib import Path
from typing import Any

import numpy as np

from flaxmask import masks
from flaxmask.data.tokenizers import SentencePieces
from flaxmask.data.vocabulary import BOS, EOS, PAD, UNKNOWN
from flaxmask.foreign import check_new
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.layers import sinusoid
from flaxmask.models.transformer import Transformer
from flaxmask.names import Refused
from flaxmask.translate import Translator

EPSILON = 1e-6
"""Of `nn.LayerNorm`."""

NEVER = -1e30
"""Bias of the pad's logit, which ours are without."""

POSITIONS = 2048
"""Rows of a table of sinusoids; a longer sentence than that is refused there."""


def to_ctranslate2(translator: Translator, directory: Path) -> None:
    """Write a folder that `ctranslate2.Translator` opens, with float32 weights.

    Its tokens are the pieces of `translator.task`'s vocabularies, `<pad>` to `<unk>` first; a source ends with the end
    mark, which the model adds by itself. Where pieces are sentencepiece's, their models lie beside it as `source.spm`
    and `target.spm`: encode a space and the text.

    Args:
      translator: of a Transformer.
      directory: a new or empty folder.

    Raises:
      Refused: CTranslate2 is not installed, the folder is not empty, or the model is one that it cannot express; the
        message names what.
    """
    try:
        import ctranslate2
    except ImportError as error:
        raise Refused("CTranslate2 is not installed: pip install ctranslate2") from error
    model, task = translator.model, translator.task
    _check(model)
    check_new(directory)
    config: TransformerConfig = model.config
    spec = ctranslate2.specs.TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers), config.heads, pre_norm=config.norm == "pre"
    )
    _fill(spec, config, translator.params["params"])
    vocabularies = {"source": task.source_vocabulary, "target": task.target_vocabulary}
    spec.register_source_vocabulary(list(vocabularies["source"].pieces))
    spec.register_target_vocabulary(pieces := list(vocabularies["target"].pieces))
    spec.config.layer_norm_epsilon = EPSILON
    spec.config.add_source_eos = True
    spec.config.bos_token = spec.config.decoder_start_token = pieces[BOS]
    spec.config.eos_token, spec.config.unk_token = pieces[EOS], pieces[UNKNOWN]
    spec.validate()
    directory.mkdir(parents=True, exist_ok=True)
    spec.save(str(directory))
    for side, vocabulary in vocabularies.items():
        if isinstance(vocabulary, SentencePieces):
            (directory / f"{side}.spm").write_bytes(vocabulary.model)


def _check(model: Any):
    """Refuse what the format has no words for."""
    if not isinstance(model, Transformer):
        raise Refused("only a Transformer can be written in CTranslate2's format; this is a recurrent model")
    plain = MaskConfig()
    for part in ("encoder", "decoder", "cross"):
        if not masks.equivalent(model.masks.formula(part), plain.formula(part)):
            raise Refused(
                f"mask.{part}={getattr(model.masks, part)!r}: CTranslate2 knows {getattr(plain, part)!r} alone"
            )
    config = model.config
    plain = ("sinusoidal", "learned", "none"), ("all",), ("token",)
    for name, known in zip(("positions", "handed", "start"), plain, strict=True):
        if (value := getattr(config, name)) not in known:
            raise Refused(f"model.{name}={value}: CTranslate2 knows {', '.join(known)} alone")
    if config.mask_form is not None:
        raise Refused(f"model.mask_form={config.mask_form}: CTranslate2 applies masks in its own way")
    if config.share_layers:
        raise Refused("model.share_layers: CTranslate2 would hold every layer twice; train without it")


def _fill(spec: Any, config: TransformerConfig, params: Any):
    """Every weight of a specification."""
    for side, part in (("source", spec.encoder), ("target", spec.decoder)):
        owner = f"{side}_embedder"
        embedding = _float32(params[owner if owner in params else "target_embedder"]["embedding"])
        tables = part.embeddings if isinstance(part.embeddings, list) else [part.embeddings]
        for table in tables:
            table.weight, table.multiply_by_sqrt_depth = embedding, True
        part.position_encodings.encodings = _positions(config, params.get(f"{side}_positions"))
    for name, part in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        for number, layer in enumerate(part.layer):
            _fill_layer(layer, params[f"{name}_{number}"])
        if config.norm == "pre":
            _fill_norm(part.layer_norm, params[f"{name}_norm"])
    embedding = spec.decoder.embeddings.weight
    head = {"kernel": embedding.T, "bias": np.zeros(len(embedding))} if config.tie_logits else params["head"]
    _fill_linear(spec.decoder.projection, head)
    spec.decoder.projection.bias[PAD] = NEVER


def _fill_layer(layer: Any, params: Any):
    own = params["self_attention"]
    _fill_linear(layer.self_attention.linear[0], own["query"], own["key"], own["value"])
    _fill_linear(layer.self_attention.linear[1], own["out"])
    _fill_norm(layer.self_attention.layer_norm, params["self_norm"])
    if "cross_attention" in params:
        cross = params["cross_attention"]
        _fill_linear(layer.attention.linear[0], cross["query"])
        _fill_linear(layer.attention.linear[1], cross["key"], cross["value"])
        _fill_linear(layer.attention.linear[2], cross["out"])
        _fill_norm(layer.attention.layer_norm, params["cross_norm"])
    _fill_linear(layer.ffn.linear_0, params["expand"])
    _fill_linear(layer.ffn.linear_1, params["contract"])
    _fill_norm(layer.ffn.layer_norm, params["ffn_norm"])


def _fill_linear(spec: Any, *parts: Any):
    """Products of one input side by side; whatever its axes, the last ones of a bias are the outputs."""
    biases = [_float32(part["bias"]).reshape(-1) for part in parts]
    kernels = [_float32(part["kernel"]).reshape(-1, len(bias)) for part, bias in zip(parts, biases, strict=True)]
    spec.weight = np.concatenate(kernels, axis=1).T.copy()
    spec.bias = np.concatenate(biases)


def _fill_norm(spec: Any, params: Any):
    spec.gamma, spec.beta = _float32(params["scale"]), _float32(params["bias"])


def _positions(config: TransformerConfig, params: Any) -> np.ndarray:
    if config.positions == "learned":
        return _float32(params["table"])
    table = sinusoid(np.arange(POSITIONS, dtype=np.int32)[None], config.d_model)[0]
    return _float32(table) * (config.positions == "sinusoidal")


def _float32(x: Any) -> np.ndarray:
    return np.asarray(x, np.float32)
