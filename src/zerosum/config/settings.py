"""Every setting of a run: what it means, what it may be, what it is if nothing is said.

A `Config` is frozen and holds no objects, only numbers and names. A `Choice` names a row of a table (a loss, a pair of
networks ...) and carries that row's options; `build` checks them against the row's signature.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST = 2**63 - 1
"""TOML's largest whole number."""

LARGE = 1e30
"""Bound on the size of numbers that meet float32, which ends at 3.4e38: torch takes none beyond it, but raises an error
in mid-round where it should have said that a cost is infinite."""

LAYERS, WIDEST = 1_000, 2**16
"""The most layers or blocks of a network, as many as the deepest that learn (He et al. 2016, arXiv:1603.05027, has
1,001), and the most channels or numbers in one: settings are read from files, and who reads a run builds its networks.
"""

LONGEST = 2**20
"""The most numbers in z: as many as a point has, where nothing else is said."""

TURNS = 10_000
"""The most steps of D in a round, and passes in a step: a round is finished before a signal is heard."""

MANY = 4_096
"""The most threads or processes."""

LONG = 1e9
"""Seconds, 31 years: what counts nanoseconds in 64 bits ends at nine times as many."""

Positive = Annotated[int, Field(gt=0, le=LARGEST)]
Whole = Annotated[int, Field(ge=0, le=LARGEST)]
Turns = Annotated[int, Field(gt=0, le=TURNS)]
Many = Annotated[int, Field(gt=0, le=MANY)]
Size = Annotated[int, Field(gt=0, le=WIDEST)]
Layers = Annotated[int, Field(gt=0, le=LAYERS)]
Real = Annotated[float, Field(ge=-LARGE, le=LARGE)]
NotNegative = Annotated[float, Field(ge=0, le=LARGE)]
Rate = Annotated[float, Field(gt=0, le=LARGE)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Tree = dict[str, Any]
"""What a TOML file holds: names to numbers, texts, lists and further trees."""


class Section(BaseModel):
    """A group of settings: frozen, strictly typed, and closed to unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_rows(cls, given: Any) -> Any:
        """Options of a choice without a name are those of the default row: `loss.smoothing = 0.1` alone will do."""
        if not isinstance(given, Mapping):
            return given
        rows = {key: field.default.name for key, field in cls.model_fields.items() if isinstance(field.default, Choice)}
        unnamed = {key: row for key, row in rows.items() if isinstance(given.get(key), Mapping)}
        return {**given, **{key: {"name": row, **given[key]} for key, row in unnamed.items()}}


class Choice(Section):
    """A row of a table and its options: `loss = "hinge"`, or a table with `name` and the options beside it."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1)]
    """A row's name, or "module:callable" for one of your own."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @property
    def options(self) -> Tree:
        """The row's own options."""
        return dict(self.model_extra or {})


class PenaltyChoice(Choice):
    """A penalty on the discriminator."""

    weight: NotNegative = 1.0
    """What the penalty is multiplied with (gamma of R1 and R2, lambda of WGAN-GP)."""
    every: Positive = 1
    """Rounds from one use to the next; the weight is multiplied by this, so the average strength stays."""


class Nets(Section):
    """The two players."""

    name: Annotated[str, Field(min_length=1)] = "mlp"
    """A pair of the NETS table."""
    generator: Tree = {}
    """Options of the pair's generator."""
    discriminator: Tree = {}
    """Options of the pair's discriminator."""
    conditions: Literal["none", "labels"] = "none"
    """`labels`: both players are told the class, G(z, c) and D(x, c)."""
    label_size: Size = 16
    """Numbers that tell G a class."""


class Latent(Section):
    """The noise z."""

    distribution: Literal["normal", "uniform"] = "normal"
    """Standard normal, or uniform between `low` and `high`."""
    size: Annotated[int, Field(gt=0, le=LONGEST)] = 64
    """How many numbers one z has."""
    low: Real = -1.0
    """Lower end of the uniform law."""
    high: Real = 1.0
    """Upper end of the uniform law."""

    @model_validator(mode="after")
    def _ordered(self) -> "Latent":
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must lie below high = {self.high}")
        return self


Order = Literal["discriminator-first", "generator-first", "simultaneous"]


class Rules(Section):
    """How the game is played."""

    batch: Positive = 128
    """m: real samples, and as many fakes, in one step, however many processes share it."""
    accumulate: Turns = 1
    """Passes in one step, each of `batch` samples: their gradients add up to that of a batch so many times as large."""
    k: Turns = 1
    """Discriminator steps in one round (Algorithm 1)."""
    order: Order = "discriminator-first"
    """`discriminator-first`: Algorithm 1. `generator-first`: G moves, then D is trained on the fakes that were made
    before G moved. `simultaneous`: one evaluation of both gradients, then both move (the 2014 code)."""
    reduction: Literal["sum", "mean"] = "sum"
    """D's two terms added up (-V; log 4 at equilibrium), or their mean (log 2 at equilibrium)."""
    flip: Share = 0.0
    """Share of the samples whose two logits are swapped in D's step: random label flips."""
    clip: Rate | None = None
    """Bound on the size of every weight of D, applied after each of its steps (WGAN's c). Absent: no bound."""

    @model_validator(mode="after")
    def _one_evaluation(self) -> "Rules":
        if self.order == "simultaneous" and self.k != 1:
            raise ValueError(f"order = 'simultaneous' evaluates both gradients once, so k = {self.k} must be 1")
        return self


class Ema(Section):
    """The moving average of G's weights, from which samples are drawn."""

    half_life: NotNegative = 10_000.0
    """Samples after which a weight's share has halved; 0 means no averaging."""
    ramp: Rate | None = 0.05
    """At the start the half-life is at most this share of the samples seen so far. Absent: no ramp."""


class Schedule(Section):
    """The factor on both step sizes as a function of the round."""

    warmup: Whole = 0
    """Rounds over which the factor rises from 0 to 1."""
    decay: Literal["none", "linear", "cosine", "exponential"] = "none"
    """How the factor falls."""
    begin: Whole = 0
    """The round at which the decay begins."""
    end: Positive | None = None
    """The round at which `linear` and `cosine` reach `floor`; absolute, so a longer run follows the same curve."""
    factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """What `exponential` multiplies with each round."""
    floor: Share = 0.0
    """The factor never falls below this."""

    @model_validator(mode="after")
    def _end_is_known(self) -> "Schedule":
        if self.decay in ("linear", "cosine") and (self.end is None or self.end <= self.begin):
            raise ValueError(f"decay = '{self.decay}' needs end (a round) after begin = {self.begin}")
        return self


class Optimizers(Section):
    """How each player moves."""

    generator: Choice = Choice(name="adam")
    """A row of OPTIMIZERS with its options."""
    discriminator: Choice = Choice(name="adam")
    """The same for D."""


class Train(Section):
    """How long, where, and what is kept."""

    rounds: Positive = 2000
    """Rounds to play in all."""
    minutes: Rate | None = None
    """Wall-clock limit in minutes, summed over resumes. Absent: none."""
    seed: Whole = 0
    """Everything random follows from it."""
    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`, `mps`. Absent: the best there is."""
    precision: Literal["auto", "bfloat16", "float32", "float64"] = "auto"
    """The type of weights and arithmetic. `bfloat16`: weights in float32, and so are penalties, batch statistics and
    averages; products of matrices in bfloat16. `auto`: that, where device and networks gain by it, else float32."""
    threads: Many | None = None
    """CPU threads. Absent: torch's choice. Part of the run, since it decides the order of sums."""
    processes: Many = 1
    """Processes that play together, each its part of every batch (docs/scale.md)."""
    statistics: Literal["process", "all"] = "process"
    """Batch normalisation of several processes: over each one's part of the batch, or over the rows of all."""
    timeout: Annotated[float, Field(gt=0, le=LONG)] = 600.0
    """Seconds that a process waits for the others before it counts one as lost."""
    log_every: Positive = 50
    """Rounds from one reading to the next; there is one with each checkpoint, too."""
    check_every: Positive = 100
    """Rounds from one checkup to the next: the signs of health that `zerosum diagnose` reads."""
    save_every: Positive = 500
    """Rounds from one checkpoint to the next."""
    sample_every: Positive = 500
    """Rounds from one picture of samples to the next."""
    keep: Positive = 3
    """Checkpoints kept."""


class Config(Section):
    """All settings of one run."""

    name: Annotated[str, Field(pattern=r"^[\w.-]*[\w-][\w.-]*$", max_length=100)] = "run"
    """The recipe's name, and its run folder's."""
    about: str = ""
    """What it is, in a sentence."""
    source: str = ""
    """Where it comes from: paper and section, and what differs."""
    result: str = ""
    """What it got when it was run: number, seeds, time, machine."""
    data: Choice = Choice(name="digits")
    """A row of DATASETS, or the path of a .npy, .npz or .csv file, with its options."""
    nets: Nets = Nets()
    latent: Latent = Latent()
    loss: Choice = Choice(name="non-saturating")
    """A row of LOSSES."""
    penalties: Annotated[tuple[PenaltyChoice, ...], Field(strict=False)] = ()
    """Rows of PENALTIES, each with weight and interval."""
    game: Rules = Rules()
    ema: Ema = Ema()
    optimizers: Optimizers = Optimizers()
    schedule: Schedule = Schedule()
    train: Train = Train()
