"""Back ends: the same recurrence computed in different ways, and the one place that chooses between them."""
