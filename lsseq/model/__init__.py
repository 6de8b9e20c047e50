"""Sequence models: what stands between the tokens and the loss."""
