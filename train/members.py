"""Several trainings at once: every seed with every value of one option."""

import dataclasses
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, get_type_hints

import jax
import jax.numpy as jnp
import optax

import jaxae
from jaxae.checks import check_count
from jaxae.errors import ArgumentError, ensure, require, unknown
from jaxae.inputs import abstract_batch
from jaxae.training import init_state, make_train_step
from jaxae.types import Batch
from train.config import Config
from train.options import flat, replaced
from train.run import Run


class Sweep(NamedTuple):
    """What `--sweep` says.

    Attributes:
        option: Its path, such as "model.beta".
        values: In the order given.
    """

    option: str
    values: tuple[float, ...]


def parse_sweep(config: Config) -> Sweep | None:
    """The option and its values; None without `--sweep`.

    Raises:
        ArgumentError: There is no such option, or it is not a number that can vary
            within one program.
    """
    if not config.sweep:
        return None
    option, *texts = list(config.sweep)
    option = option.replace("-", "_")  # as on the command line, or as in Python
    values: list[float] = []
    with suppress(ValueError):
        values = [float(text) for text in texts]
    require(values, "--sweep", " ".join(config.sweep), "OPTION NUMBER NUMBER ...")
    finite = all(map(math.isfinite, values))
    require(finite, "--sweep", " ".join(texts), "finite numbers")
    distinct = len({f"{value:g}" for value in values}) == len(values)
    require(distinct, "--sweep", " ".join(texts), "numbers with other digits each")
    known = flat(config)
    numbers = [name for name in known if _is_number(config, name)]
    if option not in known:
        raise ArgumentError(unknown("--sweep", option, numbers))
    real = f"--sweep {option} must be an option that is a real number"
    ensure(option in numbers, real)
    return Sweep(option, tuple(values))


def _is_number(config: Config, option: str) -> bool:
    group, _, name = option.rpartition(".")
    if group == "model":
        return config.model.is_number(name)
    owner = getattr(config, group) if group else config
    return get_type_hints(type(owner))[name] in (float, float | None)


class Members(NamedTuple):
    """The trainings of one program.

    Attributes:
        runs: A run each, as it would be alone; its directory is in the common one.
        sweep: What varies beside the seed.
        values: [S] of the option that varies, or None.
    """

    runs: Sequence[Run]
    sweep: Sweep | None
    values: jax.Array | None

    def keys(self) -> jax.Array:
        """[S] of the trainings."""
        return jnp.stack([jax.random.key(run.config.seed) for run in self.runs])

    def build(self, value: Any) -> tuple[jaxae.Recipe, optax.GradientTransformation]:
        """The recipe and the optimizer for a value of the option that varies.

        Raises:
            ArgumentError: The option decides more than a number.
        """
        run = self.runs[0]
        if self.sweep is not None:
            config = replaced(run.config, self.sweep.option, value)
            run = run._replace(config=config)
        # Anew: a value that is traced finds nothing that was made before.
        return run.recipe(), run.config.optimizer.transformation(run.steps)

    def check(self) -> None:
        """Traces a step with a value that varies.

        Raises:
            ArgumentError: The option decides more than numbers.
        """
        if self.sweep is None:
            return

        def step(value: jax.Array, batch: Batch) -> jax.Array:
            recipe, tx = self.build(value)
            state = init_state(recipe, tx, batch, jax.random.key(0))
            return make_train_step(recipe, tx)(state, batch)[1]["loss"]

        batch = abstract_batch(self.build(self.sweep.values[0])[0])
        try:
            jax.eval_shape(step, jnp.float32(0), batch)
        except jax.errors.JAXTypeError as error:  # asked for the number itself
            raise ArgumentError(
                f"--sweep {self.sweep.option} decides how the program is built, so it "
                "cannot vary within one: train once for every value"
            ) from error


def check_members(config: Config) -> Sweep | None:
    """What `--sweep` says, if the options go together for several trainings at once.

    Raises:
        ArgumentError: They do not, or see `parse_sweep`.
    """
    check_count("--seeds", config.seeds)
    sweep = parse_sweep(config)
    if config.seeds == 1 and sweep is None:
        return None
    option = "--sweep" if sweep else "--seeds"
    ensure(not config.stream, f"{option} is for data in memory, not for --stream")
    ensure(config.start is None, f"{option} is for trainings without --start")
    shared = config.parallel in ("data", "none")
    ensure(shared, f"{option} is for --parallel data or none, not {config.parallel}")
    hosts = jax.process_count()
    ensure(hosts == 1, f"{option} is for one host, not for {hosts}")
    return sweep


def plan_members(run: Run) -> Members | None:
    """The trainings that `--seeds` and `--sweep` ask for; None for a single one.

    Raises:
        ArgumentError: The options do not go together, or the one to be swept decides
            more than numbers.
    """
    config, sweep = run.config, check_members(run.config)
    if config.seeds == 1 and sweep is None:
        return None
    alone = dataclasses.replace(config, seeds=1, sweep=(), out=None)
    runs, values = [], []
    for value in (None,) if sweep is None else sweep.values:
        for seed in range(config.seed, config.seed + config.seeds):
            own, name = dataclasses.replace(alone, seed=seed), f"seed-{seed}"
            if sweep is not None:
                own = replaced(own, sweep.option, value)
                name = f"{sweep.option}-{value:g}-{name}"
                values.append(value)
            runs.append(run._replace(path=run.path / name, config=own))
    array = jnp.asarray(values, jnp.float32) if sweep else None
    members = Members(tuple(runs), sweep, array)
    members.check()
    return members
