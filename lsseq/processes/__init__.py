"""Several processes that train one model together.

`place` says which of them this one is, from the environment that `torchrun` sets, without importing torch; `group` is
what they tell each other.
"""
