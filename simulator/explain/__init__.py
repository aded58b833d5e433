"""Where the time of a run goes, and what would help: the same run again with one thing changed at a time.

baseline -> knobs, bounds -> runner -> sensitivities, knee -> advice -> facts -> table, page, write
"""
