"""`train` as a job of Slurm: submitted through submitit, followed here, resumed over there."""
