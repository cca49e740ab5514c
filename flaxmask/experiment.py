"""Experiments: one page, one table. This module does not import jax until a cell runs.

An `Experiment` has rows (what differs), scales (how much is computed) and columns (what is shown). `run` fills the
table's cells, row by row and seed by seed, keeps each as a line of `results.jsonl`, and goes on where it stopped.
"""

import dataclasses
import hashlib
import importlib
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from flaxmask import foreign, hosts, stopping
from flaxmask.data.config import CATALOGUE, DataConfig, PackingConfig
from flaxmask.decoding.config import DecodingConfig
from flaxmask.models.config import MaskConfig, RecurrentConfig, TransformerConfig
from flaxmask.names import Missing, Refused, nearest
from flaxmask.overrides import apply, flat
from flaxmask.probe import ProbeConfig
from flaxmask.provenance import provenance
from flaxmask.reporting import results
from flaxmask.reporting.metrics import METRICS
from flaxmask.training.config import FinetuneConfig, TrainingConfig

SCALES = ("smoke", "quick", "paper")
EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides what a cell computes, but for the seed."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: TransformerConfig = dataclasses.field(default_factory=TransformerConfig)
    mask: MaskConfig = dataclasses.field(default_factory=MaskConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    packing: PackingConfig = dataclasses.field(default_factory=PackingConfig)
    probe: ProbeConfig = dataclasses.field(default_factory=ProbeConfig)
    finetune: FinetuneConfig = dataclasses.field(default_factory=FinetuneConfig)
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)
    architecture: Literal["transformer", "recurrent"] = "transformer"
    """Which is built: `model` or `recurrent`."""
    recurrent: RecurrentConfig = dataclasses.field(default_factory=RecurrentConfig)
    visible_flops: bool = False
    """Whether the arithmetic of the cells that masks leave is counted, in the evaluation's first examples."""
    explained: int | None = None
    """Examples in which attention weights are set beside what hiding each position does; None asks of none."""

    @property
    def trains(self) -> bool:
        """Whether a model is trained; else a row is the same whatever the seed."""
        return self.packing.lengths is None and self.probe.function is None

    def __post_init__(self):
        task, _, _ = self.data.known
        if self.data.packer == "concatenate" and task not in ("lm", "mlm"):
            raise Refused(
                f"data.packer=concatenate cuts examples, which is for language models: {task} needs them whole"
            )
        _refuse_ignored(self, task)
        for key, name in (("data.vocabulary_of", self.data.vocabulary_of), ("finetune.name", self.finetune.name)):
            if name is not None and name not in CATALOGUE:
                raise Refused(f"{key}={name}: {nearest(name, CATALOGUE)}")
        if self.training.best_by and self.data.validation_split in (None, self.data.judged_by):
            raise Refused(
                f"training.best_by={self.training.best_by}: set data.validation_split to another split than "
                f"{self.data.judged_by}, which the rows are judged on: it must not choose too"
            )
        if self.explained is not None and self.explained < 1:
            raise Refused(f"explained: expected at least 1, got {self.explained}")
        if self.architecture == "recurrent" and self.visible_flops:
            raise Refused("visible_flops counts a Transformer's attention: leave architecture at transformer")
        if self.explained and task not in ("g2p", "text_to_text"):
            raise Refused(f"explained looks at what a target reads of a source: {task} has not both")
        if self.explained and self.architecture == "recurrent" and self.recurrent.attention != "dot":
            raise Refused(f"explained looks at weights: recurrent.attention={self.recurrent.attention} keeps none")
        if self.architecture == "recurrent" and task in ("lm", "prefix_lm") and self.recurrent.bidirectional:
            raise Refused(f"recurrent.bidirectional: {task} would read the answer from the end")
        one = task == "prefix_lm" or (task == "text_to_text" and self.data.share_vocabulary)
        if self.model.share_embeddings and not one:
            raise Refused(f"model.share_embeddings: {task} has two vocabularies; text_to_text may have one")
        if self.finetune.name is not None and (task != "mlm" or self.data.vocabulary_of is None):
            raise Refused(
                "finetune.name: a masked language model is finetuned, and data.vocabulary_of gives both its pieces"
            )


def _refuse_ignored(config: Config, task: str):
    """Refuse what would be set and change nothing."""
    data, masks = config.data, MaskConfig()
    ignored = {
        f"data.shift=False is for tasks of a source and a target, not for {task}": not data.shift
        and task not in ("g2p", "text_to_text"),
        f"data.mask_unit and data.mask_copies are for mlm, not for {task}": task != "mlm"
        and (data.mask_unit, data.mask_copies) != ("token", None),
        f"data.sample is for text_to_text, not for {task}": data.sample is not None and task != "text_to_text",
        "architecture=recurrent reads in its own order: of the masks, mask.cross alone is for its attention": (
            config.architecture == "recurrent"
            and (config.mask.encoder, config.mask.decoder, config.model.mask_form)
            != (masks.encoder, masks.decoder, None)
        ),
    }
    for message, found in ignored.items():
        if found:
            raise Refused(message)


@dataclasses.dataclass(frozen=True)
class Part:
    """Some rows of an experiment as a table of their own.

    Attributes:
      title: the question that it answers, one line.
      rows: their names.
      columns: metrics in the order of the table.
      reference: a row that all others are tested to be equivalent to; "" tests nothing.
      margin: percentage points of right answers within which rows count as equivalent.
      front: a cost and a quality, two metrics against each other in a figure; None draws none.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    reference: str = ""
    margin: float = 0.0
    front: tuple[str, str] | None = None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A table to be filled, or several.

    Attributes:
      name: of the module in `experiments/`.
      title: the question it answers, one line.
      rows: for each row, what it changes: dotted keys of `Config` and their values.
      scales: for "smoke", "quick" and "paper", the configuration that the rows change.
      columns: metrics in the order of the table; none where `parts` have their own.
      parts: tables of some rows each; none is one table of all.
      left_out: for each scale, rows that it does without.
      published: for each row, the figures that others printed, by metric; as text, with the digits that they gave.
      published_by: where these stand; or that nobody published such a table.
      compared: for each scale, how ours and theirs are compared. exact: every digit. level: at least as good, or
        within our own spread; where data and protocol are theirs. trend: whether rows come in their order.
      notes: what a reader of the tables would stumble on, a line each.
      seeds: for each scale, how many seeds.
      expected: for each scale, the time it takes and the figures to expect; shown by `--list` and `--dry-run`.
    """

    name: str
    title: str
    rows: Mapping[str, Mapping[str, Any]]
    scales: Mapping[str, Config]
    columns: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    left_out: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    published: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    published_by: str = ""
    compared: Mapping[str, Literal["exact", "level", "trend"]] = dataclasses.field(
        default_factory=lambda: {"smoke": "trend", "quick": "trend", "paper": "level"}
    )
    notes: tuple[str, ...] = ()
    seeds: Mapping[str, int] = dataclasses.field(default_factory=lambda: {"smoke": 1, "quick": 1, "paper": 3})
    expected: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for column in (*self.columns, *(column for part in self.parts for column in part.columns)):
            if column not in METRICS:
                raise Refused(f"{self.name}: no metric is called {column!r}; {nearest(column, METRICS)}")

    def configs(self, scale: str, overrides: Mapping[str, str]) -> dict[str, Config]:
        """Each row's configuration.

        Raises:
          Refused: an override of something that differs between the rows, or that does not fit.
        """
        if scale not in self.scales:
            raise Refused(f"{self.name} has no scale {scale}; it has {', '.join(self.scales)}")
        varied = {key: row for row, changes in self.rows.items() for key in changes}
        for key in overrides:
            if key in varied:
                raise Refused(
                    f"{key} differs between the rows of {self.name} (row {varied[key]} sets it): "
                    f"overriding it would make the rows equal"
                )
        base = apply(self.scales[scale], overrides)
        left_out = self.left_out.get(scale, ())
        return {row: apply(base, changes) for row, changes in self.rows.items() if row not in left_out}


def find(name: str, directory: Path) -> Experiment:
    """The experiment of that name in `directory`.

    Raises:
      Refused: there is none; the message gives the nearest name.
    """
    names = names_in(directory)
    if name not in names:
        raise Refused(f"no experiment is called {name!r}; {nearest(name, names)}")
    if str(directory.parent) not in sys.path:  # a notebook may have started elsewhere
        sys.path.append(str(directory.parent))
    module, file = f"{directory.name}.{name}", directory / f"{name}.py"
    try:
        return importlib.import_module(module).EXPERIMENT
    except AttributeError as error:
        if getattr(error, "name", None) != "EXPERIMENT":
            raise
        raise Refused(f"{file} has no EXPERIMENT; a file that is no page is called _{name}.py") from None
    except (ValueError, TypeError, SyntaxError, NameError, ImportError) as error:  # as people write pages
        raise Refused(f"{file} cannot be read ({type(error).__name__}: {error})") from error


def cell_of(checkpoint: Path) -> tuple[Path, str, int, Config]:
    """The run, row, seed and configuration of `RUN/checkpoints/ROW-SEED`.

    The page of its experiment is read, where there is one: a mask of somebody's own may be registered there.

    Raises:
      Refused: there is no such checkpoint, its run's configuration is none of ours, or the page cannot be read.
    """
    checkpoint = checkpoint.absolute()
    run, (row, _, seed) = checkpoint.parent.parent, checkpoint.name.rpartition("-")
    if not checkpoint.is_dir() or not re.fullmatch("[0-9]{1,9}", seed):
        raise Refused(f"{checkpoint} is no checkpoint: expected a folder RUN/checkpoints/ROW-SEED")
    settings = results.read_settings(run)
    rows, name = settings["rows"], settings.get("experiment", "")
    if row not in rows:
        raise Refused(f"{run} has no row {row!r}: its rows are {', '.join(rows)}")
    paged = name in names_in(EXPERIMENTS)
    if paged:
        find(name, EXPERIMENTS)
    try:
        return run, row, int(seed), apply(Config(), flat(rows[row]))
    except Refused as error:
        mend = "" if paged or not name else f"; no page {name!r} is here, where masks of its own were registered"
        raise Refused(f"{run / results.SETTINGS}, row {row}: {error}{mend}") from None


def names_in(directory: Path) -> list[str]:
    """Names of the experiments in `directory`."""
    return sorted(path.stem for path in directory.glob("*.py") if not path.stem.startswith("_"))


@dataclasses.dataclass(frozen=True)
class Run:
    """One filling of a table: which experiment, how large, where.

    Attributes:
      experiment: the page.
      scale: one of its scales.
      seeds: how many.
      workdir: where the results are kept.
      configs: of every row.
      parallel: jit or pmap.
      only: rows to fill now; none is all of them. The others stay open.
      track: where every update is written to, beside `metrics.jsonl`; see `reporting.tracking`.
      wait: for another run that holds the folder, instead of being refused.
      distributed: which of several processes this is; None is one alone.
    """

    experiment: Experiment
    scale: str
    seeds: int
    workdir: Path
    configs: Mapping[str, Config]
    parallel: str = "jit"
    only: tuple[str, ...] = ()
    track: tuple[str, ...] = ()
    wait: bool = False
    distributed: hosts.Place | None = None

    def settings(self) -> dict[str, Any]:
        """What two runs must share to share a folder."""
        return {
            "experiment": self.experiment.name,
            "title": self.experiment.title,
            "scale": self.scale,
            "parallel": self.parallel,
            "parts": [dataclasses.asdict(part) for part in self._parts()],
            "published": self.experiment.published,
            "published_by": self.experiment.published_by,
            "compared": self.experiment.compared[self.scale],
            "notes": self.experiment.notes,
            "rows": {row: dataclasses.asdict(config) for row, config in self.configs.items()},
        }

    def _parts(self) -> tuple[Part, ...]:
        """The tables, of the rows that this scale has."""
        whole = Part(self.experiment.title, tuple(self.experiment.rows), self.experiment.columns)
        parts = self.experiment.parts or (whole,)
        return tuple(dataclasses.replace(p, rows=tuple(r for r in p.rows if r in self.configs)) for p in parts)

    def claim(self):
        """Take the folder, which is `lock.held`: a new one, or one of the same settings.

        Raises:
          Refused: it holds results of other settings, the message names the first that differs; or what leads out.
        """
        results.contain(self.workdir)
        settings = json.loads(json.dumps(self.settings()))
        checkpoints = self.workdir / "checkpoints"
        # A run that computed nothing yet holds nothing that could be lost.
        if results.read(self.workdir) or (checkpoints.is_dir() and any(checkpoints.iterdir())):
            compute = lambda of: {key: of.get(key) for key in results.COMPUTED}
            difference = _difference(compute(results.read_settings(self.workdir)), compute(settings))
            if difference:
                raise Refused(
                    f"{self.workdir} holds results of another configuration ({difference}): "
                    f"name another folder with --workdir, or remove this one"
                )
        results.write_whole(self.workdir / results.SETTINGS, json.dumps(settings, indent=1) + "\n")

    def cells(self) -> list[tuple[str, int]]:
        """Rows and seeds that are not finished, one seed of every row before the next seed."""
        done = {(line["row"], line["seed"]) for line in results.read(self.workdir)}
        seeds = {row: self.seeds if config.trains else 1 for row, config in self.configs.items()}
        wanted = [(row, seed) for seed in range(self.seeds) for row in self.configs if seed < seeds[row]]
        return [(row, seed) for row, seed in wanted if (row, seed) not in done and row in (self.only or self.configs)]

    def run(
        self,
        fill: Callable[..., tuple[dict[str, float], dict[str, Any]]],
        finished: Callable[[], Any],
        say: Callable[[str], Any] = lambda text: None,
    ):
        """Fill every open cell and keep each as it comes. Of several processes the first says which are open.

        Args:
          fill: `flaxmask.cell.run_cell`.
          finished: called after each cell.
          say: called before each with which it is, and how long all of them will take yet.

        Raises:
          Missing: data of some rows cannot be had; all other cells are filled.
          Stopped: somebody asked for it; the message names the cell that goes on next time.
        """
        missing: dict[str, str] = {}
        cells, began = hosts.here().at_first(self.cells, shared=True), time.perf_counter()
        for number, (row, seed) in enumerate(cells):
            origin, clock = provenance(), time.perf_counter()
            said = f"{row}, seed {seed}: {number + 1} of {len(cells)}{_left(clock - began, number, len(cells))}"
            say(said if hosts.first() else f"process {hosts.here().index}: {said}")
            kept = results.Kept(self.workdir, row, seed)
            try:
                metrics, beside = fill(self.configs[row], seed, self.parallel, kept, self.track)
            except Missing as error:
                missing[row] = str(error)
                continue
            except stopping.Stopped as stopped:
                said = f"{row}, seed {seed}: {stopped}".removesuffix(": ")
                raise stopping.Stopped(f"{said}; its checkpoints are in {kept.checkpoints}") from None
            config = dataclasses.asdict(self.configs[row])
            digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
            line = {
                "experiment": self.experiment.name,
                "row": row,
                "seed": seed,
                "scale": self.scale,
                "metrics": metrics,
                **beside,
                "config": config,
                "provenance": origin | {"config_sha256": digest, "seconds": time.perf_counter() - clock},
            }
            if hosts.first():
                results.append(self.workdir, line)
                finished()
            stopping.check()
        if missing:
            raise Missing(f"not filled: {', '.join(missing)}; {next(iter(missing.values()))}")

    def audits(self) -> list[str]:
        """What the audit found of each finished row and seed, as text."""
        texts = []
        for line in results.read(self.workdir):
            path = results.Kept(self.workdir, line["row"], line["seed"]).audit
            path = path.with_name(path.name + ".txt")
            found = foreign.read_text(path) if path.exists() else f"no audit was kept ({path} is missing)\n"
            texts.append(f"{line['row']}, seed {line['seed']}\n{found}")
        return texts


def _left(seconds: float, done: int, total: int) -> str:
    """The time left, if the cells to come take as long as those before them.

    >>> _left(90.0, 1, 3), _left(0.0, 0, 3), _left(7200.0, 2, 4)
    ('; about 3 min left', '', '; about 120 min left')
    """
    return f"; about {seconds / done * (total - done) / 60:.0f} min left" if done else ""


def _difference(old: Any, new: Any, key: str = "") -> str:
    """The first key at which two trees of settings differ, with both values; "" if there is none."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = (_difference(old.get(k), new.get(k), f"{key}.{k}".lstrip(".")) for k in [*old, *new])
        return next(filter(None, found), "")
    return "" if old == new else f"{key} is {old!r} there and {new!r} here"
