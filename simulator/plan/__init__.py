"""Sizing a machine: will a model fit, how fast will it be, what to change first.

quick_question -> quick_memory, quick_routing -> quick -> quick_knobs -> quick_report
"""
