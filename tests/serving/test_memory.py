"""What is freed leaves the process."""

import ctypes

import psutil

from serving.memory import return_freed_memory

MIB = 2**20


def test_freed_memory_leaves_the_process() -> None:
    c = ctypes.CDLL(None)
    c.malloc.restype = ctypes.c_void_p
    blocks = [c.malloc(1000) for _ in range(40_000)]
    for block in blocks:
        ctypes.memset(block, 1, 1000)
    last = c.malloc(1000)  # what lies at the end keeps all before it
    for block in blocks:
        c.free(ctypes.c_void_p(block))
    before = psutil.Process().memory_info().rss
    return_freed_memory()
    assert before - psutil.Process().memory_info().rss > 20 * MIB
    c.free(ctypes.c_void_p(last))
