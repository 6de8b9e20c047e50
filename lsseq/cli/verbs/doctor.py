"""`lsseq doctor`"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lsseq.cli.common import json_option, print_json
from lsseq.errors import Problem, RunError

if TYPE_CHECKING:
    from lsseq.measure.check import BackEnd, Recurrence


@click.command(
    short_help="Check the back ends of this machine.",
    epilog="""\b
Examples:
  lsseq doctor
  lsseq doctor --json""",
)
@json_option
def command(as_json: bool) -> None:
    """Show devices, versions, and which back end each recurrence takes here and why; run every back end against the
    reference, and time it against torch.nn.

    Takes about half a minute. The exit code is 1 where a back end does not compute what the reference does.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported; see bench
    from lsseq.measure.check import check_recurrences
    from lsseq.measure.machine import describe_devices, devices, versions

    described = describe_devices()
    if not as_json:
        _print_machine(versions(), described)
    recurrences = []
    for device in devices():
        if not as_json:
            click.echo(f"\n{device}: error against the reference in float32; forward and training, time over torch.nn")
        for recurrence in check_recurrences(device):
            recurrences.append(recurrence)
            if not as_json:
                _print_recurrence(recurrence)
    problems = _problems(recurrences)
    if as_json:
        values = {"versions": versions(), "devices": described, "ok": not problems}
        print_json({**values, "recurrences": [recurrence.values() for recurrence in recurrences]})
    if problems:
        first, *rest = problems
        raise RunError(
            first.message,
            hint="set model.backend=reference in recipes, backend='reference' in Python; what was computed by a back "
            "end that deviates is not to be trusted",
            more=rest,
        )


def _print_machine(versions: dict[str, str], devices: Sequence[dict[str, Any]]) -> None:
    click.echo(", ".join(f"{name} {version}" for name, version in versions.items()))
    for device in devices:
        threads = f"; {device['threads']} thread(s)" if "threads" in device else ""
        click.echo(f"{device['device']}: {device['name']}{threads}")
        fused = device["fused"]
        click.echo(f"  fused: {fused['what'] if fused['available'] else 'none, ' + fused['reason']}")


def _print_recurrence(recurrence: Recurrence) -> None:
    click.echo(f"\n{recurrence.case.name}")
    for line in recurrence.case.ours().explain().splitlines():
        click.echo(f"  auto takes for {line}")
    for backend in recurrence.backends:
        click.echo(f"  {backend.name:<10} {_outcome(backend)}")


def _outcome(backend: BackEnd) -> str:
    if backend.refusal is not None:
        return "cannot serve it"
    if backend.failures:
        return f"FAILED  {'; '.join(backend.failures)}"
    assert backend.forward is not None
    assert backend.train is not None
    error = backend.deviations["float32"].error
    return f"ok  {error:7.1e}  {backend.forward.median:6.2f}  {backend.train.median:6.2f}"


def _problems(recurrences: Sequence[Recurrence]) -> list[Problem]:
    return [
        Problem(f"`{backend.name}` deviates from the reference for {one.case.name} on {one.case.device}, {failure}")
        for one in recurrences
        for backend in one.backends
        for failure in backend.failures
    ]
