"""The benchmark engine: habitat-sim through habitat-lab, imported where it is used and nowhere else."""
