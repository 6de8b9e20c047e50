"""Trained dense models as models of low rank."""
