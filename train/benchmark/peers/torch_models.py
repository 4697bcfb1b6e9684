# pyright: reportMissingImports=false
# ruff: noqa: D102, D107 (modules are described by their classes)
"""The models in plain PyTorch: modules from (x, samples) to the loss per image."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT = 16


class VAE(nn.Module):
    """Any encoder to 2 * LATENT numbers, any decoder to logits."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor, samples: int) -> Tensor:
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        if samples > 1:
            return self.bound(x, mean, log_var, samples)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        kl = -0.5 * (1 + log_var - mean**2 - log_var.exp())
        return self.error(x, z) + kl.sum(1)

    def bound(self, x: Tensor, mean: Tensor, log_var: Tensor, samples: int) -> Tensor:
        """The negative importance-weighted bound."""
        noise = torch.randn(samples, *mean.shape, device=x.device)
        z = mean + torch.exp(0.5 * log_var) * noise
        log_q = -0.5 * (noise**2 + log_var).sum(2)
        weights = -self.error(x, z) - 0.5 * (z**2).sum(2) - log_q
        return math.log(samples) - torch.logsumexp(weights, 0)

    def error(self, x: Tensor, z: Tensor) -> Tensor:
        """Binary cross-entropy per code [..., b, d]."""
        logits = self.decoder(z.flatten(0, -2)).reshape(*z.shape[:-1], -1)
        target = x.flatten(1).expand_as(logits)
        values = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return values.sum(-1)


class Denoiser(nn.Module):
    """That of Keras' example."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(_up(32, 32), nn.ReLU()),
            *(_up(32, 32), nn.ReLU()),
            nn.Conv2d(32, 1, 3, padding=1),
        )

    def forward(self, x: Tensor, samples: int) -> Tensor:
        del samples
        noisy = (x + 0.4 * torch.randn_like(x)).clamp(0, 1)
        error = F.binary_cross_entropy_with_logits(
            self.layers(noisy), x, reduction="none"
        )
        return error.flatten(1).sum(1)


class VQVAE(nn.Module):
    """pythae's, with its codebook of running means."""

    size, dim, decay = 256, 32, 0.99

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 64, 4, 2, 1),
            nn.Conv2d(64, 128, 4, 2, 1),
            nn.Conv2d(128, 128, 3, 2, 1),
            *(Residual(), Residual()),
            nn.Conv2d(128, self.dim, 1),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(self.dim, 128, 1),
            nn.ConvTranspose2d(128, 128, 3, 2, 1),
            *(Residual(), Residual(), nn.ReLU()),
            *(_up(128, 64), nn.ReLU()),
            *(_up(64, 1), nn.Sigmoid()),
        )
        codes = torch.empty(self.size, self.dim).uniform_(-1 / self.size, 1 / self.size)
        self.register_buffer("codes", codes)
        self.register_buffer("sums", codes.clone())
        self.register_buffer("counts", torch.zeros(self.size))

    def forward(self, x: Tensor, samples: int) -> Tensor:
        del samples
        h = self.encoder(x).permute(0, 2, 3, 1)
        flat = h.reshape(-1, self.dim)
        with torch.no_grad():
            squares = (self.codes**2).sum(1)
            chosen = torch.argmin(squares - 2 * flat @ self.codes.T, dim=1)
            codes = self.codes[chosen].view_as(h)
            self.learn(flat, F.one_hot(chosen, self.size).to(flat.dtype))
        commitment = 0.25 * ((h - codes) ** 2).mean()
        z = h + (codes - h).detach()
        image = self.decoder(z.permute(0, 3, 1, 2))
        return ((image - x) ** 2).flatten(1).sum(1) + commitment

    def learn(self, features: Tensor, chosen: Tensor) -> None:
        """Moves the codes towards what chose them."""
        rest = 1 - self.decay
        counts = self.counts * self.decay + chosen.sum(0) * rest
        total = counts.sum()
        smooth = (counts + 1e-5) / (total + self.size * 1e-5) * total
        self.counts.copy_(smooth)
        self.sums.copy_(self.sums * self.decay + chosen.T @ features * rest)
        self.codes.copy_(self.sums / smooth[:, None])


class Residual(nn.Module):
    """x + two convolutions of it, through 32 channels."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.ReLU(), nn.Conv2d(128, 32, 3, 1, 1), nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.Conv2d(32, 128, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def mlp_vae() -> VAE:
    """784-512-16-512-784."""
    encoder = (nn.Flatten(), nn.Linear(784, 512), nn.ReLU())
    return VAE(
        nn.Sequential(*encoder, nn.Linear(512, 2 * LATENT)),
        nn.Sequential(nn.Linear(LATENT, 512), nn.ReLU(), nn.Linear(512, 784)),
    )


def conv_vae() -> VAE:
    """pythae's for MNIST."""
    widths = (1, 128, 256, 512, 1024)
    down = [
        layer
        for inputs, outputs in itertools.pairwise(widths)
        for layer in (
            nn.Conv2d(inputs, outputs, 4, 2, 1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )
    ]
    return VAE(
        nn.Sequential(*down, nn.Flatten(), nn.Linear(1024, 2 * LATENT)),
        nn.Sequential(
            *(nn.Linear(LATENT, 1024 * 16), nn.Unflatten(1, (1024, 4, 4))),
            *(nn.ConvTranspose2d(1024, 512, 3, 2, 1), nn.BatchNorm2d(512), nn.ReLU()),
            *(_up(512, 256), nn.BatchNorm2d(256), nn.ReLU()),
            _up(256, 1),
        ),
    )


def _up(inputs: int, outputs: int) -> nn.Module:
    """Doubles the sides."""
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1)


MODELS = {
    "mlp-vae": mlp_vae,
    "keras-denoiser": Denoiser,
    "conv-vae": conv_vae,
    "vq-vae": VQVAE,
}
