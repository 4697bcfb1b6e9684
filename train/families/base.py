"""What the families of the command line have in common.

The fields of a family are arguments of its recipe under the same names; what is not
overrides `options`. The text under every field is its help on the command line.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import jaxae
from jaxae import likelihoods

if TYPE_CHECKING:
    Likelihood = str
else:
    Likelihood = Literal[likelihoods.NAMES]
Shape = tuple[int, ...]


class Plan(NamedTuple):
    """What a family may have to know of the training that it is made for."""

    train_size: int
    steps_per_epoch: int


@dataclass(frozen=True)
class Family:
    """Base of the families."""

    title: ClassVar[str]
    monitor: ClassVar[str] = "validation_loss"  # least at the best epoch
    make: ClassVar[Callable[..., jaxae.Recipe]]

    def recipe(self, shape: Shape, plan: Plan) -> jaxae.Recipe:
        """For examples of this shape."""
        return type(self).make(shape, **self.options(plan))

    def options(self, plan: Plan) -> dict[str, Any]:
        """The arguments of the recipe beside the shape."""
        del plan
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        if "network" in values:
            values["network"] = values["network"].networks()
        return values
