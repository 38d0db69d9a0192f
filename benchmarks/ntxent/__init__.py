"""The benchmark of NT-Xent: `python -m benchmarks.ntxent`. Needs torch, numpy and jaxtyping, nothing else."""
