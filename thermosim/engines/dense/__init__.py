"""The engine of dense layers: perceptrons one replica at a time, its weights in the cache, by products of BLAS."""
