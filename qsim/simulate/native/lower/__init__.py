"""Operations as calls of the C kernels, family by family: what each needs is checked, its parameters are packed."""
