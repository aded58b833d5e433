"""Routing traces of mixture-of-experts models: format, import, statistics."""
