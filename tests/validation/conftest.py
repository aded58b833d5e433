"""Nothing here is collected where torch is missing."""

import importlib.util

if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)  # tensors this small spend their time waiting for a second one
else:
    collect_ignore_glob = ["test_*.py"]
