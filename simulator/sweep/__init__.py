"""A sweep: one scenario, axes along which it is varied, and a table with a row for each point.

sweep file -> axes -> draw, constraints -> points -> simulator.points -> rows -> write
"""
