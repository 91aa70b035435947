"""How fast a recipe trains on this machine, against what the machine can do and against a loop to compare with."""
