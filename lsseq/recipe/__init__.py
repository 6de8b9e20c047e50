"""Recipes: YAML files that say which text, which network and how to train and measure it. Nothing here imports torch."""

from lsseq.recipe.dump import dump_recipe
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.load import Loaded, load_recipe

__all__ = ["KeyFault", "Loaded", "dump_recipe", "load_recipe"]
