"""A training step of a KL autoencoder in PyTorch: diffusers' AutoencoderKL, L1 summed over an image,
the divergence, AdamW, moving average of the weights. Wants the folder of the other PyTorch programs
on PYTHONPATH, for their options and timing.

  PYTHONPATH=PEERS python pytorch_autoencoder.py --batch 4 --threads 2 --mode compile
"""
import torch

from common import adamw, arguments, autocast, counted_flops, measure, parameter_count, setup, wrap
from diffusers import AutoencoderKL


class Loss(torch.nn.Module):
    """Forward pass and loss in one module, so that all of it is compiled."""

    def __init__(self, channels: int, multipliers: tuple[int, ...], latent_channels: int) -> None:
        super().__init__()
        levels = len(multipliers)
        self.autoencoder = AutoencoderKL(
            block_out_channels=tuple(channels * multiplier for multiplier in multipliers),
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=2, latent_channels=latent_channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        posterior = self.autoencoder.encode(images).latent_dist
        made = self.autoencoder.decode(posterior.sample()).sample
        return ((images - made.float()).abs().sum() + 1e-6 * posterior.kl().sum()) / len(images)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--multipliers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--latent-channels", type=int, default=3)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()
    ctx = setup(args)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    model = Loss(args.channels, tuple(args.multipliers), args.latent_channels)
    model = model.to(ctx.device, memory_format=layout).train()
    images = torch.rand(args.batch, 3, args.size, args.size, device=ctx.device) * 2 - 1
    images = images.to(memory_format=layout)
    flops = counted_flops(lambda: model(images).backward())
    model.zero_grad(set_to_none=True)
    optimizer = adamw(model, lr=1e-4, betas=(0.5, 0.9), weight_decay=0.01)
    parameters = list(model.parameters())
    average = [p.detach().clone() for p in parameters]
    net = wrap(model, args, ctx)

    def step() -> torch.Tensor:
        with autocast(args):
            loss = net(images)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - args.ema)
        return loss.detach()

    measure(step, args, ctx, flops, {"params": parameter_count(model), "img": args.size})


if __name__ == "__main__":
    main()
