"""Miss-ratio curves: how often an expert cache of each size would miss, counted without a clock.

accesses -> lru (all sizes at once), belady and replay (chosen sizes) -> curves -> knees, table, page, write
"""
