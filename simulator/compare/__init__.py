"""Systems side by side on one load: which are run and on what, what came out, and its table and page.

choose -> run -> facts -> table, page
"""
