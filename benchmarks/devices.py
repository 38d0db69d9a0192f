"""What the results call a device: in words, and in the name of a file."""

import torch


def in_words(device: torch.device) -> str:
    """What the processor's name does not say: the GPU with its size, or how many threads were used."""
    if device.type == "cpu":
        return f"{torch.get_num_threads()} thread"
    about = torch.cuda.get_device_properties(device)
    return (
        f"{about.name}, {about.total_memory / 2**30:.0f} GiB, {about.multi_processor_count} multiprocessors"
    )


def file_name(device: torch.device) -> str:
    """`cpu`, or the GPU's name, such as `nvidia-h200`."""
    if device.type == "cpu":
        return "cpu"
    return torch.cuda.get_device_name(device).lower().replace(" ", "-")
