"""The largest rate of requests that a service can sustain.

rate -> run (search, keeps) -> facts -> table, page
"""
