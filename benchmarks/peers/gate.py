"""Lets a training loop play only when it is asked to, wherever the loop itself may live.

A loop calls `begin` before each of its rounds. The first call, and the one after the last round asked for, wait for a
number on stdin; what came before is told on stdout as one line of JSON. So loops that cannot be cut into pieces
(`fit`, a trainer) still take turns, with everything they keep warm staying warm.
"""

import json
import os
import resource
import sys
from time import perf_counter, process_time


class Gate:
    """A turn for a loop.

    Args:
        sizes: Numbers that a player holds, trained ones only: (G, D). To compare the work with.
    """

    def __init__(self, sizes):
        self.left = 0
        self.asked = 0
        self.sizes = sizes

    def begin(self):
        """A round is about to begin."""
        if not self.left:
            if self.asked:
                self.tell()
            line = sys.stdin.readline().strip()
            if not line:
                os._exit(0)  # no library's way of ending takes part
            self.left = self.asked = int(line)
            self.processor, self.began = process_time(), perf_counter()
        self.left -= 1

    def tell(self):
        """How long the rounds took."""
        told = {
            "milliseconds": (perf_counter() - self.began) / self.asked * 1e3,
            "processor": (process_time() - self.processor) / self.asked * 1e3,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "sizes": self.sizes,
        }
        print(json.dumps(told), flush=True)
