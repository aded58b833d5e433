"""How long prompts and outputs are."""
