"""Sizing a machine: will a model fit, how fast will it be, what to change first; and which machine keeps a promise.

quick_question -> quick_memory, quick_routing -> quick -> quick_knobs -> quick_report
promise -> search_space -> search -> search_report
"""
