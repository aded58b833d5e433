"""Miss-ratio curves."""
