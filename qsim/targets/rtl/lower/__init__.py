"""Operations as instances of the RTL kernels, family by family."""
