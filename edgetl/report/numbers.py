"""What the numbers of `report.json` may be."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Difference = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Exact:
    """What is not in the schema is a mistake in the writer."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
