"""launch/pretrain.py with the faults of `inject`, for the deepspeed launcher:

deepspeed --num_gpus 2 --module benchmarks.reliability.ours data=... run=...
"""

import sys

from benchmarks.reliability import inject
from launch.pretrain import main

if __name__ == "__main__":
    inject.install()
    sys.exit(main())
