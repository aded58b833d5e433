"""Tests of the runtime and of what is measured with it; they need the extra `live`."""
