"""What `simulator.run` and `simulator.sweep` give back: figures, frames of pandas, and tables that a notebook shows.

api -> given -> (simulate | points) -> ran, swept -> frames, html
"""
