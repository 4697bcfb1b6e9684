"""`python -m train.scaling PRESET [--option value ...]`: measure or predict scaling.

Strong scaling divides one batch over more and more devices, weak scaling gives every
device a batch of its own. What travels between devices and what they need of memory is
read from the compiled program.
"""

import os
import sys
from pathlib import Path

from train.commands import dated_folder
from train.scaling.arguments import Arguments, parse


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    preset, arguments = parse(sys.argv[1:])
    if arguments.simulated is not None:
        simulate(arguments.simulated)

    import jax

    from train.program import program

    # A program that is found in the cache is not compiled, so cannot be timed.
    jax.config.update("jax_enable_compilation_cache", False)
    with program():
        out = arguments.out or dated_folder(f"scaling-{preset}")
        passed = scale(out, preset, arguments)
    if not passed:
        raise SystemExit(1)


def simulate(count: int) -> None:
    """So many devices on the CPU, of a process in which JAX has not started."""
    import jax

    flag = f"--xla_force_host_platform_device_count={count}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    jax.config.update("jax_platforms", "cpu")


def scale(out: Path, preset: str, arguments: Arguments) -> bool:
    """Measures or predicts, reports; whether all checks passed.

    Raises:
        ArgumentError: The arguments do not go together.
        OSError: The directory cannot be written to.
    """
    from train.scaling.checks import check
    from train.scaling.measure import measure
    from train.scaling.predict import predict
    from train.scaling.report import report
    from train.scaling.study import plan

    study = plan(preset, arguments)
    out.mkdir(parents=True, exist_ok=True)
    rows = (predict if arguments.compile_only else measure)(study)
    checks = check(study, rows)
    report(out, study, rows, checks)
    return all(each.passed for each in checks)


if __name__ == "__main__":
    main()
