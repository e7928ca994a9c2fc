"""The recipe cs231n-vanilla, as `zerosum train` plays it between two readings.

with_zerosum.py IMAGES [SETTING ...] [--without CHOICE]      the images are ours, so IMAGES is not read
"""

import sys
from contextlib import nullcontext
from dataclasses import replace

import torch
from gate import Gate

from zerosum import build, config, memory
from zerosum.game import game as rules
from zerosum.game.game import play
from zerosum.resolved import resolve

arguments = sys.argv[2:]
without = arguments.pop() if "--without" in arguments else ""
overrides = [text for text in arguments if text != "--without"] + ["train.kernels=off"] * (without == "quick layers")
settings = resolve(config.load("cs231n-vanilla", overrides))
torch.set_num_threads(settings.config.train.threads)
if without != "kept memory":
    memory.keep_freed()
if without == "D left out of G's step":
    rules.frozen = nullcontext
if without == "channels last":
    build.channels_last = lambda net: net
setup = build.assemble(settings)
state, game = setup.state, setup.game
if without == "one pass of D":
    game = replace(game, one_pass=False)
if without == "fused Adam":
    for player, net in (("generator", state.generator), ("discriminator", state.discriminator)):
        state.optimizers[player] = torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.999))
gate = Gate([sum(p.numel() for p in net.parameters()) for net in (state.generator, state.discriminator)])
while True:
    gate.begin()
    play(state, game, setup.batches, setup.engine)
