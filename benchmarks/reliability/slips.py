"""Settings that nobody meant: typical slips on the command line, and what the refusal must name."""

from pathlib import Path


def slips(folder: Path) -> list[tuple[list[str], str]]:
    """Arguments, and what the one line says.

    Args:
      folder: in which a file, a finished run and data are made.
    """
    file, data = folder / "file", folder / "data.tsv"
    file.write_text("x")
    data.write_text("a\tb\n")
    other = folder / "other"
    (other / "checkpoints" / "static-0").mkdir(parents=True)
    (other / "config.json").write_text('{"experiment": "g2p", "scale": "smoke", "parallel": "jit", "rows": {"a": {}}}')
    of = lambda *more: ["--experiment", "padding", *more]
    return [
        # A name with a typo.
        (["--experiment", "paddin"], "did you mean 'padding'?"),
        (["--experiment", "Padding"], "did you mean 'padding'?"),
        (of("--scale", "qick"), "did you mean 'quick'?"),
        (of("--row", "pakced"), "did you mean 'packed'?"),
        (of("--parallel", "pmpa"), "did you mean 'pmap'?"),
        (of("--track", "tensorbord"), "did you mean 'tensorboard'?"),
        (of("--epochs", "2"), "--epochs"),
        (of("--dryrun"), "--dryrun"),
        (of("data.lenght=8"), "did you mean 'data.length'?"),
        (of("training.lr=1e-3"), "no setting is called 'training.lr'"),
        (of("learning_rate=1e-3"), "did you mean 'training.learning_rate'?"),
        (of("model.nheads=4"), "did you mean 'model.heads'?"),
        (of("mask.decoder=causl"), "did you mean 'causal'?"),
        (of("mask.decoder=causal & segmnt"), "did you mean 'segment'?"),
        (of("data.name=cmudct"), "did you mean 'cmudict'?"),
        (of("training.best_by=accuracyy", "training.curve_every=1"), "did you mean 'accuracy'?"),
        (["--experiment", "mlm_masking", "data.vocabulary_of=sentence_polarty"], "did you mean 'sentence_polarity'?"),
        (["--experiment", "mlm_masking", "finetune.name=sentence_polarty"], "did you mean 'sentence_polarity'?"),
        # Another type or choice.
        (of("training.epochs=many"), "training.epochs=many: expected int"),
        (of("training.epochs=1.5"), "training.epochs=1.5: expected int"),
        (of("training.learning_rate=1e-3s"), "expected float"),
        (of("model.share_layers=yes"), "expected one of True, False"),
        (of("model.norm=pree"), "did you mean 'pre'?"),
        (of("training.optimizer=adamw"), "did you mean 'adam'?"),
        (of("model.dtype=fp16"), "did you mean 'float16'?"),
        (of("--seeds", "three"), "invalid int value"),
        # Out of range.
        (of("--seeds", "0"), "--seeds 0: expected at least 1"),
        (of("--seeds", "1000000000"), "at most 1,000"),
        (of("training.epochs=0"), "epochs: expected at least 1"),
        (of("training.learning_rate=-1e-3"), "expected more than 0"),
        (of("training.learning_rate=nan"), "expected more than 0"),
        (of("training.beta2=98"), "expected 0 ≤ decay < 1"),
        (of("training.clip_norm=0"), "clip_norm: expected more than 0"),
        (of("training.label_smoothing=10"), "expected 0 ≤ share < 1"),
        (of("model.dropout=1"), "expected 0 ≤ rate < 1"),
        (of("data.batch_examples=99999999999"), "expected at most 2147483647"),
        (of("mask.decoder=window(-1)"), "expected an integer ≥ 0"),
        (of("decoding.beams=0"), "beams: expected at least 1"),
        # Impossible together.
        (of("model.heads=7"), "expected a divisor of d_model"),
        (of("model.d_model=100", "model.heads=8"), "expected a divisor of d_model 100"),
        (of("data.layout=static"), "data.layout differs between the rows of padding"),
        (of("data.padding_side=left"), "is for layouts of one example a row"),
        (of("data.sort=source"), "are for the layout dynamic"),
        (of("data.sample=cat"), "data.sample is for text_to_text"),
        (of("model.share_layers=True", "model.encoder_layers=3"), "as many layers on both sides"),
        (of("training.average_epochs=2", "training.ema_decay=0.9"), "give one of them"),
        (of("training.best_by=per"), "set curve_every too"),
        (of("training.best_by=per", "training.curve_every=5"), "set data.validation_split to another split"),
        (of("training.epochs=1", "training.epochs=2"), "training.epochs is given 2 times"),
        (["--experiment", "g2p", "mask.decoder=full"], "architecture=recurrent reads in its own order"),
        (["--list", "--experiment", "padding"], "--list and --experiment: one at a time"),
        (of("--translate", str(other / "checkpoints" / "a-0")), "--experiment and --translate: one at a time"),
        (of("--nbest", "3"), "--nbest: is for --translate, not for --experiment"),
        (["--report", str(other), "--seeds", "3"], "--seeds: is for --experiment, not for --report"),
        (["training.epochs=2", "--report", str(other)], "training.epochs=2: is for --experiment and --translate"),
        # Missing, or not what it should be.
        ([], "nothing to do"),
        (["--experiment"], "expected one argument"),
        (of("training.epochs"), "expected an override such as training.epochs=2"),
        (of("training.epochs="), "training.epochs=: expected int"),
        (of("mask.decoder="), "found 'the end'"),
        (of("mask.decoder=causal & (segment"), "expected ')'"),
        (of("mask.decoder=causal segment"), "expected & or |"),
        (of("mask.decoder=window(8"), "found 'the end'"),
        (of("mask.decoder=window"), "window takes (left, right=0)"),
        (of("mask.decoder=causal and segment"), "expected & or |, found 'and'"),
        (of("--workdir", str(file)), "is a file: name a folder"),
        (of("--workdir", str(file / "run")), "file is a file: name a folder"),
        (of("--workdir", str(other)), "holds results of another configuration"),
        (of("data.path=nowhere.tsv", "data.task=g2p"), "could not open nowhere.tsv (No such file or directory)"),
        (of(f"data.path={folder}", "data.task=g2p"), "expected a name that ends in"),
        (of(f"data.path={data}"), "say what it is for, with data.task"),
        (["--report", "nowhere"], "nowhere holds no run"),
        (["--report", str(file)], "Not a directory"),
        (["--translate", "nowhere"], "nowhere is no checkpoint"),
        (["--translate", str(other / "checkpoints" / "static-0")], "has no row 'static'"),
        (["--export", "nowhere", str(folder / "new")], "nowhere is no checkpoint"),
    ]
