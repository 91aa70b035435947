"""Training algorithms for ganzoo beyond the original one."""
