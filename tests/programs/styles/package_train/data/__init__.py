from .digits import batches as batches
