"""What the models of answers have in common: an answer is written by the model that documents it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-01-31T12:00:00.000000Z"])]
NEXT_CURSOR = Field(description="continues the list, as `cursor`; null at its end")
SOME_ID = "01a22859-af49-76dd-9b3d-81a50d97a754"


class Answer(BaseModel):
    """A part of an answer: camelCase, written with `written`."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    def written(self) -> dict[str, Any]:
        """Give what is answered."""
        return self.model_dump(by_alias=True)


def example(**members: Any) -> ConfigDict:
    """Give a model an example. Names are those of the API."""
    return ConfigDict(json_schema_extra={"examples": [members]})


class Page(Answer):
    """A page of a list. Subclasses say what the items are."""

    items: list[Any]
    next_cursor: str | None = NEXT_CURSOR
