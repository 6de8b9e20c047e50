"""Parts that compose with any cell: state preservation, normalisation, dropout."""
