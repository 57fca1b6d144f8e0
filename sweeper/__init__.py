"""Run a failing PyTorch training program as it is, say what is wrong,
and prove which changes cure it.
"""

__version__ = "0.1.0"
