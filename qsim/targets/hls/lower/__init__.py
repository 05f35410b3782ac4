"""Operations as calls of the HLS kernels, family by family."""
