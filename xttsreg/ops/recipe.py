"""Bundle recipes: TOML files that say what goes onto a stick."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from xttsreg.content.reference import Reference
from xttsreg.content.strict import StrictModel, load_toml
from xttsreg.errors import InvalidRecipe


class BundleRecipe(StrictModel):
    """A recipe.

    Attributes:
        name: For people, and for the default output.
        description: One line.
        models: References; what the store lacks is fetched from the catalogue.
        output: Default directory, relative to the current one.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    models: tuple[str, ...] = Field(min_length=1)
    output: str = ""

    @field_validator("models")
    @classmethod
    def _references(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        for model in models:
            Reference.parse(model)
        return models

    def references(self) -> list[Reference]:
        """The models, parsed."""
        return [Reference.parse(model) for model in self.models]


def load_recipe(path: Path) -> BundleRecipe:
    """Read a recipe.

    Raises:
        InvalidRecipe: unreadable or malformed; names the fields.
    """
    return load_toml(BundleRecipe, path, InvalidRecipe)
