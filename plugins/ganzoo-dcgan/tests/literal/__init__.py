"""Every variant written down a second time, plainly, from its source alone: what the parity tests compare with.

Nothing here uses ganzoo, so a block that is wrong there cannot be wrong here in the same way.
"""
