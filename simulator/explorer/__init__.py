"""The page that people look at: the points of a sweep as plots and a table that answer to each other."""

from simulator.explorer.page import explorer_page

__all__ = ["explorer_page"]
