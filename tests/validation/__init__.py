"""Tests of the validation runtime; those that import torch need the extra `live`."""
