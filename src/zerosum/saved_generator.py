"""The averaged generator of a run, read from its folder alone: the data set is not needed.

A checkpoint may be damaged, or come from somebody else. Its tensors are compared with the layout of the network that
the settings describe before any is loaded, and what it says of the data is validated.
"""

import math
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zerosum import build, checkpoint, memory
from zerosum.checkpoint import Checkpoint, Layout
from zerosum.config.recipes import is_code
from zerosum.config.registry import lookup
from zerosum.config.settings import Config
from zerosum.engine.precision import master_dtype
from zerosum.errors import CheckpointError, ConfigError, named, typed
from zerosum.nets import NETS, Networks
from zerosum.resolved import bind_networks
from zerosum.run import RunFolder
from zerosum.run.folder import Say, silent
from zerosum.spec import SampleSpec

MAX_SAMPLE_VALUES = 2**27
"""Largest number of values in one sample, e.g. an image of 11,000 x 11,000."""

Side = Annotated[int, Field(ge=1, le=MAX_SAMPLE_VALUES)]


class SavedGenerator(NamedTuple):
    """The averaged generator of a run."""

    generator: nn.Module
    spec: SampleSpec
    checkpoint: Checkpoint


def open_generator(folder: RunFolder, config: Config, say: Say = silent, device: str = "cpu") -> SavedGenerator:
    """Build the averaged generator of a run from its newest valid checkpoint; see `checkpoint.load`.

    Args:
        folder: The run folder.
        config: The settings of the run.
        say: Called with one sentence for each damaged checkpoint that was skipped.
        device: The device on which samples are made.

    Raises:
        CheckpointError: There is no checkpoint yet, or none is valid.
        Untrusted: The settings name code, which the running command may not import.
    """
    lookup(NETS, config.nets.name, "pair of networks")  # a failed import is not a damaged checkpoint
    try:
        _, networks = bind_networks(config.nets)
    except ConfigError as error:
        raise CheckpointError(f"the checkpoints of {named(folder.path)} do not fit its settings: {error}") from None
    saved = checkpoint.load(folder.checkpoints, say, folder.run_id(say), partial(average_layout, config, networks))
    if saved is None:
        raise CheckpointError(
            f"{named(folder.path)} has no checkpoint yet, so there is no generator. "
            f"Play the run first: zerosum train {typed(folder.config)} --out {typed(folder.path)}"
        )
    spec = spec_from_json(saved.state["data"])
    generator = build.new_generator(config, networks, spec).to(device, master_dtype(config.train.precision))
    generator = build.copy_of(generator)
    checkpoint.restore_average(saved, generator)
    return SavedGenerator(generator, spec, saved)


def average_layout(config: Config, networks: Networks, state: dict[str, Any]) -> Layout:
    """Return shapes and dtypes of the averaged generator's tensors, without allocating them (on the meta device).

    Raises:
        CheckpointError: state.json and the settings do not describe a generator, or it does not fit the memory.
    """
    own_code = is_code(config.nets.name)  # user code may not support the meta device
    try:
        with ExitStack() as contexts:
            if not own_code:
                contexts.enter_context(torch.device("meta"))
                contexts.enter_context(_SkipNormalInit())
            net = build.new_generator(config, networks, spec_from_json(state["data"]))
            net = net.to(master_dtype(config.train.precision))
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {state['round']:06d} does not fit the run's settings: {error}") from None
    average, available = checkpoint.specs_of(net), memory.total()
    needed = 3 * sum(one.nbytes for one in average.values())  # the file, its tensors and the network
    if available is not None and needed > available:
        raise CheckpointError(
            f"checkpoint {state['round']:06d}: its generator takes {needed / 1e9:,.1f} GB of memory to read, this "
            f"machine has {available / 1e9:,.1f}"
        )
    return {"average": average}


class _SkipNormalInit(TorchFunctionMode):
    """Skips normal initialization on the meta device, for which torch would import its compiler (seconds)."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def spec_to_json(spec: SampleSpec) -> dict[str, Any]:
    """Convert the specification of a sample to JSON values."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(spec).items()}


class _SampleSpecModel(BaseModel):
    """Validates a `SampleSpec` read from an untrusted file."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Literal["images", "points"]
    shape: tuple[Side, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    classes: tuple[str, ...] | None

    @model_validator(mode="after")
    def _check_consistency(self) -> "_SampleSpecModel":
        axes = {"images": 3, "points": 1}[self.kind]
        numbers = {1, *self.shape[:1]} if self.kind == "points" else {1}
        fits = len(self.shape) == axes and {len(self.shift), len(self.scale)} <= numbers
        if not fits or math.prod(self.shape) > MAX_SAMPLE_VALUES or 0 in self.scale:
            raise ValueError("shape, shift and scale do not agree")
        return self


def spec_from_json(facts: dict[str, Any]) -> SampleSpec:
    """Convert the JSON values of `spec_to_json` back, after validating them.

    Raises:
        CheckpointError: They are not a valid specification.
    """
    try:
        return SampleSpec(**dict(_SampleSpecModel.model_validate(facts)))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise CheckpointError(f"{where or 'data'} in state.json is not what a data set looks like") from None
