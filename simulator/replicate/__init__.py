"""The same scenario several times, each with requests of its own: what of a result is chance.

values -> run -> facts -> table
"""
