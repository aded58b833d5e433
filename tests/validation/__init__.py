"""Tests of capture from live models; they need the extra `live`."""
