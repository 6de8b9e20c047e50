"""The recipe: every key that a recipe file may hold, its type, its default and what it means.

The text under a field becomes the help of `lsseq recipes schema` and the JSON schema for editors. Nothing here imports
torch. A key that several recurrences share stands once; a recurrence that cannot serve a key refuses it when the model
is built.
"""

from lsseq.recipe.schema.data import Data, HubDataset, SentencePiece, TextSplits
from lsseq.recipe.schema.evaluation import DynamicEvaluation, Evaluation, NeuralCache
from lsseq.recipe.schema.figures import Expected, Metric, Published, SplitName
from lsseq.recipe.schema.model import (
    Boundary,
    Dropout,
    Hierarchy,
    Initialisation,
    Model,
    Prior,
    Regularisation,
    Slope,
    Teachers,
    Zoneout,
    recurrence_names,
)
from lsseq.recipe.schema.recipe import Recipe
from lsseq.recipe.schema.section import Section
from lsseq.recipe.schema.stack import (
    DropPath,
    Mogrifier,
    RandomSteps,
    RecurrentHighway,
    Stack,
    StochasticDepth,
    Swapout,
)
from lsseq.recipe.schema.task import Task
from lsseq.recipe.schema.training import Averaging, Schedule, Training

__all__ = [
    "Averaging",
    "Boundary",
    "Data",
    "DropPath",
    "Dropout",
    "DynamicEvaluation",
    "Evaluation",
    "Expected",
    "Hierarchy",
    "HubDataset",
    "Initialisation",
    "Metric",
    "Model",
    "Mogrifier",
    "NeuralCache",
    "Prior",
    "Published",
    "RandomSteps",
    "Recipe",
    "RecurrentHighway",
    "Regularisation",
    "Schedule",
    "Section",
    "SentencePiece",
    "Slope",
    "SplitName",
    "Stack",
    "StochasticDepth",
    "Swapout",
    "Task",
    "Teachers",
    "TextSplits",
    "Training",
    "Zoneout",
    "recurrence_names",
]
