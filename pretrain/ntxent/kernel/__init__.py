"""The two products of NT-Xent in CUDA C++: sources, build, loading and torch operators.

ntxent.h               the library's functions, without torch
library.cu             checks a problem, chooses a path
portable*              mma.sync, compute capability 8.0 and later; mma.cuh and ptx.cuh are its tools
hopper*                wgmma and TMA, compute capability 9.0
pairs.*, plan.h        which pairs count, how work is cut: plain C++, tested without a GPU
build.py               nvcc -> libmolparallax_ntxent.so
library.py, check.py   finds it, and believes in it once it agrees with `pretrain.ntxent.tiles`
binding.py, ops.py     the C functions on tensors; `molparallax::negative_sums` and `molparallax::pull`
"""
