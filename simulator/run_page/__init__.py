"""A run as one self-contained HTML page.

`page` lays it out; `latency`, `layers`, `time_spent` and `over_time` draw its plots as plain values for plotly.
"""
