"""The quick plan."""
