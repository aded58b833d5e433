"""A small offloading runtime: experts in host memory, slots on the device, copies beside the compute."""
