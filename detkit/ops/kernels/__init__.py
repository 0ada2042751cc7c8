"""CPU kernels behind the operations: Numba loops and Winograd convolution."""
