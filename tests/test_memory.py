import platform
import subprocess
import sys

import pytest

from zerosum import memory

PROOF = """
import ctypes, resource, sys
from zerosum import memory
if sys.argv[1] == "keep":
    assert memory.keep_freed()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def turn(size=24 * 2**20):
    blocks = [libc.malloc(ctypes.c_size_t(size)) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(ctypes.c_void_p(block))

for _ in range(3):
    turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_that_is_kept_is_not_asked_for_again():
    pages = {
        how: int(subprocess.run([sys.executable, "-c", PROOF, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "give back")
    }
    assert pages["keep"] < 100
    assert pages["give back"] > 10_000


def test_elsewhere_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep_freed()
