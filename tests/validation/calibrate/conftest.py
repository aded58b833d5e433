"""Nothing here is collected where torch or scipy is missing: they come with the extra `live`."""

import importlib.util

if not all(importlib.util.find_spec(package) for package in ("torch", "scipy", "transformers")):
    collect_ignore_glob = ["test_*.py"]
