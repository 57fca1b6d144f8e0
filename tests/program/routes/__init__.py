"""Every way to write, rename or delete a file that Python offers: one small program each.

A route is called with the user's folder, which is also its working directory and holds the files of
`contained.Place`. It changes what is the user's and checks that it sees its own change. `PYTHON`
routes go by calls that can be redirected; `NATIVE` ones by other programs, or by libraries with
file calls of their own.
"""

from __future__ import annotations

import codecs
import colorsys  # noqa: F401
import dbm.dumb  # noqa: F401
import getpass  # noqa: F401
import multiprocessing.popen_fork  # noqa: F401
import pstats  # noqa: F401

from tests.program.routes import libraries, opening, processes, standard, system  # noqa: F401
from tests.program.routes.base import NATIVE, PYTHON, Route

__all__ = ["NATIVE", "PYTHON", "READS_CODE", "Route"]

READS_CODE = {
    *("python_programs", "spawned_processes", "torch_scripts", "torch_profiles", "loader_workers"),
}
"""Routes that import or start something: not for a user who may not read where Python lies. What
the others would import late is imported here."""
for encoding in ("cp437", "latin-1"):
    codecs.lookup(encoding)
