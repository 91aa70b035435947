"""The device, memory, random number generators and processes of a run."""
