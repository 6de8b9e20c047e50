"""What the recurrent layers of `lsseq.nn` cost, and whether their back ends compute the same."""
