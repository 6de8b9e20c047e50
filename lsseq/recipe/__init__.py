"""Recipes: YAML files that say which text, which network and how it is trained and measured. Never imports torch."""

from lsseq.recipe.dump import dump_recipe
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.load import Loaded, load_recipe
from lsseq.recipe.resolved import read_resolved

__all__ = ["KeyFault", "Loaded", "dump_recipe", "load_recipe", "read_resolved"]
