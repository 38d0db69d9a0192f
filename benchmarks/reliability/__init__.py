"""What a fault does to a training run: the same faults in raw DeepSpeed and in this project.

python -m benchmarks.reliability --write
"""
