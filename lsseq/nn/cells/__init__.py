"""The cells: one step of a recurrence each, in plain PyTorch operations, its equations in the order of the paper."""
