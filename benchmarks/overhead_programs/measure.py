"""Time, CPU time and memory of a training loop, as the program that trains sees them."""

import os
import time
from contextlib import contextmanager


def _kilobytes(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


@contextmanager
def measured():
    """Print what the block took; memory is its peak above what was in use at its start."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts again from the memory now in use
    before = _kilobytes("VmRSS")
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    grown = max(0, _kilobytes("VmHWM") - before)
    print(f"measured cpu={cpu:.6f} wall={wall:.6f} grown_kb={grown} pid={os.getpid()}", flush=True)
