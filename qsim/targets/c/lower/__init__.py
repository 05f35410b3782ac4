"""Operations as calls of the C kernels, family by family."""
