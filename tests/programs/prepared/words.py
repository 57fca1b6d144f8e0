"""Imported by train.py; its bytecode must not be written for the first time before the fork."""
import numpy as np


def tokenise(number):
    return np.array([(number * 7 + place * 3) % 11 for place in range(8)]) * 0.7
