"""Was it luck: the smallest sufficient fix, fresh seeds beside controls, intervals."""
