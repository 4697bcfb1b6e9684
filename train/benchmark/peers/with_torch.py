# pyright: reportMissingImports=false
"""A plain PyTorch loop: images in memory, fused Adam, channels-last convolutions."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from train.benchmark.peers.torch_models import MODELS
from train.benchmark.peers.worker import Case, read_task, serve

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    """Serves the case."""
    case, images = read_task()
    torch.manual_seed(0)
    model = MODELS[case["model"]]().to(DEVICE, memory_format=torch.channels_last)
    x = torch.from_numpy(images).to(DEVICE).permute(0, 3, 1, 2).float() / 255
    x = x.contiguous(memory_format=torch.channels_last)
    rounds = evaluation if case["task"] == "nll" else training
    count = sum(values.numel() for values in model.parameters())
    serve(count, rounds(case, model, x), device_peak)


def training(case: Case, model: nn.Module, images: Tensor) -> Callable[[], float]:
    """A round is a pass in new order."""
    adam = torch.optim.Adam(model.parameters(), case["learning_rate"], fused=True)
    batch_size, samples = case["batch_size"], case["samples"]
    loss = torch.compile(model) if case["peer"] == "torch-compile" else model

    def one_round() -> float:
        total = torch.zeros((), device=DEVICE)
        for rows in torch.randperm(len(images), device=DEVICE).split(batch_size):
            value = loss(images[rows], samples).mean()
            adam.zero_grad()
            value.backward()
            adam.step()
            total += value.detach() * len(rows)
        return total.item() / len(images)

    return one_round


def evaluation(case: Case, model: nn.Module, images: Tensor) -> Callable[[], float]:
    """A round is the log-likelihood of all images, one after the other."""

    def one_round() -> float:
        with torch.no_grad():
            each = [model(x[None], case["samples"]) for x in images]
        return torch.cat(each).mean().item()

    return one_round


def device_peak() -> int | None:
    """Bytes in use at most."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None


if __name__ == "__main__":
    main()
