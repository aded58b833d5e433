"""Many scenarios: each a point with its labels, run in several processes, its result kept under what it depends on.

point -> key -> store; workers -> run
"""
