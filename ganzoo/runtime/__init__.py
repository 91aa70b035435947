"""The device, memory, random numbers and processes that a run computes with."""
