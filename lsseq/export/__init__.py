"""Trained models in forms that run without lsseq.

Every form is made of one trace: the graph of a single step, with the state as inputs and outputs (`step`). A form is a
module with `NAME`, `obstacle`, `files` and `runner` (`forms`), and is compared with the model before it is given out.
"""
