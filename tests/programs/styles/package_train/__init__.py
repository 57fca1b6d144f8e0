"""A package that is run as `python -m package_train.train`."""
