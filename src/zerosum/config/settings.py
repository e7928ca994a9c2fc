"""Every setting of a run: its meaning, its allowed values and its default.

A `Config` is frozen and holds numbers and names, no objects. A `Choice` names a row of a table (a loss, a pair of
networks ...) and holds the options of that row; `resolved` checks them against the row's signature.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_INT = 2**63 - 1
"""Largest integer in TOML."""

MAX_FLOAT = 1e30
"""Bound on numbers that torch converts to float32 (maximum 3.4e38): beyond that, torch raises an error in mid-round."""

MAX_LAYERS, MAX_WIDTH = 1_000, 2**16
"""Maximum number of layers or blocks (He et al. 2016, arXiv:1603.05027, train 1,001), and of channels or units in one:
reading a run from a file builds its networks, so these bound the memory that it can take."""

MAX_LATENT = 2**20
"""Maximum size of z."""

MAX_REPEATS = 10_000
"""Maximum steps of D in a round, and passes in a step: a signal takes effect only at the end of a round."""

MAX_WORKERS = 4_096
"""Maximum number of threads or processes."""

MAX_SECONDS = 1e9
"""Maximum timeout in seconds (31 years); nanoseconds in 64 bits end at nine times as many."""

PositiveInt = Annotated[int, Field(gt=0, le=MAX_INT)]
NonNegativeInt = Annotated[int, Field(ge=0, le=MAX_INT)]
Repeats = Annotated[int, Field(gt=0, le=MAX_REPEATS)]
WorkerCount = Annotated[int, Field(gt=0, le=MAX_WORKERS)]
Size = Annotated[int, Field(gt=0, le=MAX_WIDTH)]
Layers = Annotated[int, Field(gt=0, le=MAX_LAYERS)]
Real = Annotated[float, Field(ge=-MAX_FLOAT, le=MAX_FLOAT)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=MAX_FLOAT)]
Rate = Annotated[float, Field(gt=0, le=MAX_FLOAT)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Tree = dict[str, Any]
"""The content of a TOML file: names with numbers, strings, lists or nested trees."""


class Section(BaseModel):
    """A group of settings: frozen, strictly typed; unknown names are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_rows(cls, given: Any) -> Any:
        """Add the default name to a choice with options only, so that `loss.smoothing = 0.1` is enough."""
        if not isinstance(given, Mapping):
            return given
        rows = {key: field.default.name for key, field in cls.model_fields.items() if isinstance(field.default, Choice)}
        unnamed = {key: row for key, row in rows.items() if isinstance(given.get(key), Mapping)}
        return {**given, **{key: {"name": row, **given[key]} for key, row in unnamed.items()}}


class Choice(Section):
    """A row of a table and its options: `loss = "hinge"`, or a TOML table with `name` and the options."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1)]
    """Name of the row, or "module:callable" for your own."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @property
    def options(self) -> Tree:
        """The options of the row."""
        return dict(self.model_extra or {})


class PenaltyChoice(Choice):
    """A penalty in the discriminator's objective."""

    weight: NonNegativeFloat = 1.0
    """Weight of the penalty in D's cost (gamma of R1 and R2, lambda of WGAN-GP)."""
    every: PositiveInt = 1
    """Apply the penalty every so many rounds, with its weight times this number (lazy regularization)."""


class Nets(Section):
    """The networks of the two players."""

    name: Annotated[str, Field(min_length=1)] = "mlp"
    """Name of a pair (`zerosum list nets`), or "module:name" for your own."""
    generator: Tree = {}
    """Options of the pair's generator, for example its width."""
    discriminator: Tree = {}
    """Options of the pair's discriminator, for example its width."""
    conditions: Literal["none", "labels"] = "none"
    """`labels`: class-conditional players G(z, c) and D(x, c), for data with labels. `none`: G(z) and D(x)."""
    label_size: Size = 16
    """Size of the class embedding in G's input, for `labels`."""


class Latent(Section):
    """The latent z, G's random input."""

    distribution: Literal["normal", "uniform"] = "normal"
    """Distribution of each component of z: standard normal, or uniform between `low` and `high`."""
    size: Annotated[int, Field(gt=0, le=MAX_LATENT)] = 64
    """Dimension of z."""
    low: Real = -1.0
    """Lower end of the uniform distribution; unused by `normal`."""
    high: Real = 1.0
    """Upper end of the uniform distribution; unused by `normal`."""

    @model_validator(mode="after")
    def _ordered(self) -> "Latent":
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must lie below high = {self.high}")
        return self


Order = Literal["discriminator-first", "generator-first", "simultaneous"]


class GameSettings(Section):
    """The rules of the game."""

    batch: PositiveInt = 128
    """Batch size m: real samples (and as many fakes) per pass, shared by all processes."""
    accumulate: Repeats = 1
    """Gradient accumulation: passes per step, each of `batch` samples; equals a batch of batch * accumulate."""
    k: Repeats = 1
    """Discriminator steps per round (k of Algorithm 1)."""
    order: Order = "discriminator-first"
    """Order of the steps in a round. `discriminator-first`: Algorithm 1. `generator-first`: G's step, then D's on fakes
    made before it. `simultaneous`: both gradients at the same point, then both steps (the 2014 code)."""
    reduction: Literal["sum", "mean"] = "sum"
    """D's cost is the `sum` of its real and fake terms (-V; log 4 at equilibrium), or their `mean` (log 2)."""
    flip: Share = 0.0
    """Probability, 0 to 1, of a random label flip in D's step: it swaps a real and a fake logit."""
    clip: Rate | None = None
    """Weight clipping: after each step of D, its weights are clipped to [-clip, clip] (c of WGAN). Absent: none."""

    @model_validator(mode="after")
    def _one_evaluation(self) -> "GameSettings":
        if self.order == "simultaneous" and self.k != 1:
            raise ValueError(f"order = 'simultaneous' evaluates both gradients once, so k = {self.k} must be 1")
        return self


class Ema(Section):
    """The exponential moving average (EMA) of G's weights, which makes the samples."""

    half_life: NonNegativeFloat = 10_000.0
    """Half-life of the average, in training samples; 0: no averaging."""
    ramp: Rate | None = 0.05
    """Early in training, the half-life is at most this fraction of the samples seen so far. Absent: no limit."""


class Schedule(Section):
    """The learning rate schedule: a factor on both players' learning rates for each round."""

    warmup: NonNegativeInt = 0
    """Warm-up: rounds over which the factor rises from 0 to 1."""
    decay: Literal["none", "linear", "cosine", "exponential"] = "none"
    """Shape of the decay of the factor."""
    begin: NonNegativeInt = 0
    """Round at which the decay begins."""
    end: PositiveInt | None = None
    """Round at which `linear` and `cosine` reach `floor`; it does not depend on train.rounds."""
    factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """`exponential` multiplies the factor by this in every round."""
    floor: Share = 0.0
    """Lower bound of the factor."""

    @model_validator(mode="after")
    def _end_is_known(self) -> "Schedule":
        if self.decay in ("linear", "cosine") and (self.end is None or self.end <= self.begin):
            raise ValueError(f"decay = '{self.decay}' needs end (a round) after begin = {self.begin}")
        return self


class Optimizers(Section):
    """The optimizer of each player."""

    generator: Choice = Choice(name="adam")
    """Optimizer of the generator (`zerosum list optimizers`), with options such as `lr`."""
    discriminator: Choice = Choice(name="adam")
    """Optimizer of the discriminator, with options such as `lr`."""


class Train(Section):
    """Length, hardware, logging and checkpoints."""

    rounds: PositiveInt = 2000
    """Total number of rounds."""
    minutes: Rate | None = None
    """Time limit in minutes of wall-clock time, summed over resumes. Absent: none."""
    seed: NonNegativeInt = 0
    """Random seed; determines all random numbers of the run."""
    device: str | None = None
    """`cpu`, `cuda`, `cuda:1` or `mps`. Absent: the fastest that is available."""
    precision: Literal["auto", "bfloat16", "float32", "float64"] = "auto"
    """Dtype of weights and arithmetic. `bfloat16`: mixed precision, with matrix products in bfloat16 and weights,
    penalties, batch statistics and averages in float32. `auto`: `bfloat16` where it is faster, else `float32`."""
    kernels: Literal["on", "off"] = "on"
    """`on`: layers and input gradients of `zerosum.kernels` where they are faster. `off`: torch's own layers, and
    autograd's second backward pass for penalties; the results are the same but for rounding."""
    threads: WorkerCount | None = None
    """CPU threads per process. Absent: torch's default. Fixed for a run, because it changes rounding."""
    processes: WorkerCount = 1
    """Number of data-parallel processes; each takes a part of every batch (docs/scale.md)."""
    statistics: Literal["process", "all"] = "process"
    """Statistics of batch normalization with several processes: of each `process` alone, or of `all` rows."""
    timeout: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 600.0
    """Seconds that a process waits for the others before it reports one as lost."""
    log_every: PositiveInt = 50
    """Log a reading (a line of readings.jsonl) every so many rounds, and with each checkpoint."""
    check_every: PositiveInt = 100
    """Run a checkup, the health indicators for `zerosum diagnose`, every so many rounds."""
    save_every: PositiveInt = 500
    """Write a checkpoint every so many rounds."""
    sample_every: PositiveInt = 500
    """Write a sheet of samples every so many rounds."""
    keep: PositiveInt = 3
    """Number of checkpoints to keep; older ones are removed."""


class Config(Section):
    """All settings of one run."""

    name: Annotated[str, Field(pattern=r"^[\w.-]*[\w-][\w.-]*$", max_length=100)] = "run"
    """Name of the recipe and of its run folder."""
    about: str = ""
    """Description in one sentence."""
    source: str = ""
    """Source: paper and section, and what differs from it."""
    result: str = ""
    """Measured result: value, seeds, time, machine."""
    data: Choice = Choice(name="digits")
    """Data set (`zerosum list datasets`), or the path of a .npy, .npz or .csv file or of a folder, with options."""
    nets: Nets = Nets()
    latent: Latent = Latent()
    loss: Choice = Choice(name="non-saturating")
    """Loss of the game (`zerosum list losses`), with options."""
    penalties: Annotated[tuple[PenaltyChoice, ...], Field(strict=False)] = ()
    """Penalties on D (`zerosum list penalties`), each with `weight` and `every`."""
    game: GameSettings = GameSettings()
    ema: Ema = Ema()
    optimizers: Optimizers = Optimizers()
    schedule: Schedule = Schedule()
    train: Train = Train()
