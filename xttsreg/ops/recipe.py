"""Bundle recipes: TOML files that say what goes onto a stick."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from xttsreg.content.environment import EnvironmentConfig, Target
from xttsreg.content.reference import Reference
from xttsreg.content.strict import StrictModel, load_toml
from xttsreg.errors import InvalidRecipe


class EnvironmentRecipe(StrictModel):
    """One Python environment that a bundle carries.

    Attributes:
        python: Of the target, e.g. ``3.11``.
        platform: Of the target, e.g. ``manylinux_2_28_x86_64`` or ``win_amd64``.
        extras: Of xttsreg; none is the core, ``train`` trains, ``ja`` reads Japanese.
        cuda: For people: which CUDA its torch is built for.
        lock: File that pins every wheel, relative to the recipe; written if it is not there.
    """

    python: str
    platform: str
    extras: tuple[str, ...] = ()
    cuda: str = Field(default="", pattern=r"^[0-9A-Za-z. ,+-]*$", max_length=60)
    lock: str = ""

    @model_validator(mode="after")
    def _known_target(self) -> EnvironmentRecipe:
        Target.of(self.python, self.platform)
        for extra in self.extras:
            if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", extra):
                raise InvalidRecipe(f"not an extra: {extra!r}")
        return self

    @property
    def target(self) -> Target:
        """The machines that it is for."""
        return Target(self.python, self.platform)

    @property
    def tagged(self) -> str:
        """What it is called in a store."""
        extras = tuple(sorted(set(self.extras)))
        return EnvironmentConfig(
            python=self.python, platform=self.platform, extras=extras
        ).tagged  # fmt: skip


class DatasetRecipe(StrictModel):
    """One dataset that a bundle carries.

    Attributes:
        ref: What it is called.
        directory: The folder, relative to the recipe; empty to take what the store has.
    """

    ref: str
    directory: str = ""

    @field_validator("ref")
    @classmethod
    def _reference(cls, ref: str) -> str:
        Reference.parse(ref)
        return ref

    @property
    def reference(self) -> Reference:
        """The name, parsed."""
        return Reference.parse(self.ref)


class BundleRecipe(StrictModel):
    """A recipe.

    Attributes:
        name: For people, and for the default output.
        description: One line.
        models: References; what the store lacks is fetched from the catalogue.
        datasets: Datasets; the folders that are named are added first.
        environments: Python environments; resolved and downloaded if the store lacks them.
        output: Default directory, relative to the current one.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    models: tuple[str, ...] = ()
    datasets: tuple[DatasetRecipe, ...] = ()
    environments: tuple[EnvironmentRecipe, ...] = ()
    output: str = ""

    @field_validator("models")
    @classmethod
    def _references(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        for model in models:
            Reference.parse(model)
        return models

    @model_validator(mode="after")
    def _not_empty(self) -> BundleRecipe:
        if not (self.models or self.environments or self.datasets):
            raise InvalidRecipe("models: at least one, or a dataset or environment")
        tags = [item.tagged for item in self.environments]
        if len(set(tags)) != len(tags):
            raise InvalidRecipe("environments: two are for the same machines with the same extras")
        return self

    def references(self) -> list[Reference]:
        """The models, parsed."""
        return [Reference.parse(model) for model in self.models]


def load_recipe(path: Path) -> BundleRecipe:
    """Read a recipe.

    Raises:
        InvalidRecipe: unreadable or malformed; names the fields.
    """
    return load_toml(BundleRecipe, path, InvalidRecipe)
