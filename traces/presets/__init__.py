"""Fitted parameters of `traces.synthesis`, one JSON file per model: statistics only, no rows of a trace."""
