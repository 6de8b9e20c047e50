"""The recurrences that a recipe may name: one file each, found by its name."""
