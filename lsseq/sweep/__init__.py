"""Searches for hyper-parameters: many trainings of one recipe, each with other values of some keys."""
