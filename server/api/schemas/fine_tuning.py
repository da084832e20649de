"""OpenAI's body of POST /v1/fine_tuning/jobs, as far as an adapter can be trained by it."""

import secrets
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from server.api.schemas.admin import ShortName
from server.api.schemas.common import Body, wrong
from server.finetuning.planning import Wish

MAX_SEED = 2**31 - 1
MAX_MULTIPLIER = 100.0


def _unless_auto(value: object) -> object:
    """ "auto" is what the recipe has, and so is nothing."""
    return None if value == "auto" else value


MetadataKey = Annotated[str, Field(max_length=64)]
MetadataText = Annotated[str, Field(max_length=512)]
Count = Annotated[int, Field(ge=1, le=256)]
Epochs = Annotated[int, Field(ge=1, le=50)]
Multiplier = Annotated[float, Field(gt=0, le=MAX_MULTIPLIER, allow_inf_nan=False)]


class Hyperparameters(Body):
    """None: as the recipe has it."""

    batch_size: Annotated[
        Count | None, BeforeValidator(_unless_auto, json_schema_input_type=Count | Literal["auto"] | None)
    ] = None
    learning_rate_multiplier: Annotated[
        Multiplier | None, BeforeValidator(_unless_auto, json_schema_input_type=Multiplier | Literal["auto"] | None)
    ] = None
    n_epochs: Annotated[
        Epochs | None, BeforeValidator(_unless_auto, json_schema_input_type=Epochs | Literal["auto"] | None)
    ] = None


class Supervised(Body):
    hyperparameters: Hyperparameters | None = None


class Method(Body):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Any = None
    reinforcement: Any = None


class FineTuningBody(Body):
    """model: a brand. hyperparameters: the older place of what `method` carries."""

    model: ShortName
    training_file: ShortName
    validation_file: ShortName | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    integrations: list[Any] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataText], Field(max_length=16)] | None = None

    @model_validator(mode="after")
    def _offered(self) -> Self:
        if self.integrations:
            raise wrong("integrations", "No integrations are offered; metrics are events, and on /metrics.")
        method = self.method
        if method is not None and method.type != "supervised":
            raise wrong("method.type", f"{method.type} is not offered; adapters are trained supervised.")
        for name in ("dpo", "reinforcement"):
            if method is not None and getattr(method, name) is not None:
                raise wrong(f"method.{name}", f"{name} is not offered; adapters are trained supervised.")
        if self.hyperparameters and method and method.supervised and method.supervised.hyperparameters:
            raise wrong("hyperparameters", "Send hyperparameters in method alone.")
        return self

    @property
    def wish(self) -> Wish:
        in_method = self.method.supervised.hyperparameters if self.method and self.method.supervised else None
        chosen = in_method or self.hyperparameters or Hyperparameters()
        return Wish(
            model=self.model,
            training_file=self.training_file,
            validation_file=self.validation_file,
            seed=secrets.randbelow(MAX_SEED) if self.seed is None else self.seed,
            num_epochs=chosen.n_epochs,
            batch_rows=chosen.batch_size,
            learning_rate_multiplier=chosen.learning_rate_multiplier,
            suffix=self.suffix,
            metadata=self.metadata,
        )
