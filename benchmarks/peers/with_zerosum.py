"""The recipe cs231n-vanilla, as `zerosum train` plays it between two readings."""

import sys

import torch
from gate import Gate

from zerosum import build, config, memory
from zerosum.game import play

settings = build.resolve(config.load("cs231n-vanilla", sys.argv[2:]))
torch.set_num_threads(settings.train.threads)
memory.keep_freed()
setup = build.assemble(settings)
sizes = [sum(p.numel() for p in net.parameters()) for net in (setup.state.generator, setup.state.discriminator)]
gate = Gate(sizes)
while True:
    gate.begin()
    play(setup.state, setup.game, setup.batches)
