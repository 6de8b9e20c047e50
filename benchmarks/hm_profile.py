"""Where the time of a training step of the HM-LSTM goes, by sampling with Linux's `perf`.

    python benchmarks/hm_profile.py [--hidden 512] [--input 128] [--batch 64] [--steps 100] [--boundary-rates 0.3,0.1]
                                    [--gradient product] [--norm layer] [--threads N] [--seconds 20]

Prints the share and the time of each part of a step (forward and backward, as `lsseq bench --cell HMLSTM` times them),
and how fast the products are. With several threads the shares are those of all their time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported

import torch

from lsseq.measure.case import Case, Shape
from lsseq.measure.machine import product_speed
from lsseq.measure.timing import train

KERNELS = r"kernels\.so"
PARTS = {
    "products": rf"{KERNELS} .*\b(tiles|multiply|add_product)",
    "products, PyTorch (weights of detectors)": r"(gemm|brgemm|dnnl|mkl_)",
    "packing of weights": rf"{KERNELS} .*\bpack_",
    "layer norm, kernels": rf"{KERNELS} .*normal",
    "gates, states, detectors: forward": rf"{KERNELS} .*\b(make_event|detect)",
    "gates, states, detectors: backward": rf"{KERNELS} .*\b(row_backward|gather|factor_gradient)",
    "kernels, all else (threads that wait)": rf"{KERNELS} ",
    "PyTorch, all else": r"(libtorch|libc10)",
    "memory: new pages, copies, zeros": r"(\[k\]|libc\.so)",
    "Python and the rest": "",
}
"""What the library and the symbol of a sample look like; the first that fits counts."""


def sample(step: Callable[[], object], seconds: float) -> tuple[list[tuple[float, str]], float]:
    """(percent of the samples, library and symbol) of what the process runs for so long, and the seconds of a step."""
    if shutil.which("perf") is None:
        sys.exit("hm_profile.py needs `perf`, which Linux has")
    step()
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "perf.data"))
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-o", file, "-p", str(os.getpid())]
        perf = subprocess.Popen(record, stderr=subprocess.PIPE, text=True)
        begin, steps = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            step()
            steps += 1
        took = (time.perf_counter() - begin) / steps
        perf.send_signal(signal.SIGINT)
        _, said = perf.communicate()
        if not Path(file).exists():
            sys.exit(f"perf does not record here: {said.strip()}")
        report = ["perf", "report", "--stdio", "-F", "overhead,dso,symbol", "-t", "|", "-i", file]
        text = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    lines = (line.split("|") for line in text.splitlines() if line.strip() and not line.startswith("#"))
    samples = [(float(share.strip().rstrip("%")), f"{dso.strip()} {symbol.strip()}") for share, dso, symbol in lines]
    return samples, took


def part_of(symbol: str) -> str:
    """The part of a step that a sample belongs to."""
    return next(part for part, pattern in PARTS.items() if re.search(pattern, symbol))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in (("hidden", 512), ("input", 128), ("batch", 64), ("steps", 100)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument(
        "--boundary-rates", type=lambda text: [float(rate) for rate in text.split(",")], default=[0.3, 0.1]
    )
    parser.add_argument("--gradient", choices=["product", "select"], default="product")
    parser.add_argument("--norm", choices=["layer"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    options = {"boundary_rates": given.boundary_rates, "gradient": given.gradient}
    options |= {"norm": given.norm} if given.norm else {}
    shape = Shape(given.input, given.hidden, given.batch, given.steps, len(given.boundary_rates) + 1)
    case = Case("HMLSTM", options, shape)
    samples, seconds = sample(train(case.ours(), case.sequence()), given.seconds)
    shares = dict.fromkeys(PARTS, 0.0)
    for share, symbol in samples:
        shares[part_of(symbol)] += share
    total = sum(shares.values())
    print(f"{case.name}, {shape}, {given.threads} thread(s): {1000 * seconds:.1f} ms a step")
    for part, share in shares.items():
        print(f"{part:<45} {share / total:>6.1%} {1000 * seconds * share / total:>8.1f} ms")
    products = sum(share for part, share in shares.items() if part.startswith("products")) / total
    speed = 3 * case.products / (seconds * products)
    large = product_speed(case.device, case.dtype)
    print(
        f"about {3 * case.products / 1e9:.1f} GFLOP in products, at {speed / 1e9:.0f} GFLOP/s; "
        f"large ones reach {large / 1e9:.0f}"
    )


if __name__ == "__main__":
    main()
