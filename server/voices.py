"""Which voice a `model` names: a brand with its active adapter, a pinned version of it, or the plain base."""

from collections.abc import Callable
from dataclasses import dataclass

from adapters.lora_header import is_plain
from adapters.registry import AdapterVersion, Registry
from adapters.rollout import Caller
from config.brands import Brand, SamplingDefaults
from config.errors import ConfigError, HousevoiceError, NotFoundError
from config.models import ModelFile
from config.prompt import Prompt
from server.brandbook import BrandBook
from server.engine.messages import AdapterRef
from server.keys import ApiKey

NOBODY = Caller()
UNTUNED = "@0"
"""brand@0 is the brand without any adapter, under its untuned prompt: what an adapter is compared with."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A model as a client reaches it. `brand` of the base is made up: all knowledge bases, no prompt, no adapter."""

    model: str
    brand: Brand
    is_base: bool
    adapter: AdapterVersion | None
    created_unix_seconds: int

    @property
    def adapter_ref(self) -> AdapterRef | None:
        adapter = self.adapter
        return AdapterRef(adapter.name, adapter.path, adapter.sha256) if adapter else None

    def boundary_in(self, prompt: Prompt) -> int:
        """From where on the adapter is on: a plain LoRA was trained with all of the prompt under it."""
        adapter = self.adapter
        return 0 if adapter and is_plain(adapter.path, adapter.sha256) else prompt.voice_boundary

    @property
    def brand_prompt(self) -> str:
        """Without an adapter the whole format has to be spelled out."""
        return self.brand.system_prompt if self.adapter else self.brand.untuned_prompt or self.brand.system_prompt


class Voices:
    """Resolves model ids. `knowledge_bases` names what is indexed now, which is what the base answers from."""

    def __init__(
        self, base: ModelFile, brands: BrandBook, registry: Registry, knowledge_bases: Callable[[], list[str]]
    ) -> None:
        self._base = base
        self._brands = brands
        self._registry = registry
        self._knowledge_bases = knowledge_bases

    def resolve(self, model: str, key: ApiKey, caller: Caller = NOBODY) -> Voice:
        """caller: decides who gets a brand's canary. Raises NotFoundError (model_not_found) for what does not exist or
        this key may not use, and (model_retired) for a version that is not used any more.
        """
        brand_name, _, version = model.partition("@")
        if not key.may_use(brand_name):
            raise model_not_found(model)
        if model == self._base.name:
            return self._base_voice()
        brand = self._brands.brands().get(brand_name)
        if brand is None:
            raise model_not_found(model)
        adapter = self._adapter(brand, model if version else "")
        if brand.adapter == "active" and not version:
            adapter = self._canary(brand, caller) or adapter
        return self._check(Voice(model, brand, False, adapter, 0))

    def listed(self, key: ApiKey) -> list[Voice]:
        """The base, then each brand with its versions, as far as this key may use them."""
        voices = [self._base_voice()] if key.may_use(self._base.name) else []
        for brand in self._brands.brands().values():
            if key.may_use(brand.name):
                voices += self._versions(brand)
        return voices

    def readable_knowledge_bases(self, key: ApiKey) -> set[str]:
        """Whose documents this key may open: those of the voices it may use."""
        if key.may_use(self._base.name):
            return set(self._knowledge_bases())
        brands = self._brands.brands().values()
        return {name for brand in brands if key.may_use(brand.name) for name in brand.knowledge_bases}

    def _versions(self, brand: Brand) -> list[Voice]:
        try:
            active = self._adapter(brand, "")
        except HousevoiceError:
            active = None
        created = active.created_unix_seconds if active else 0
        versions = [v for v in self._registry.versions(brand.name) if not v.retirement]
        pinned = [Voice(v.name, brand, False, v, v.created_unix_seconds) for v in versions]
        return [Voice(brand.name, brand, False, active, created), *pinned]

    def _canary(self, brand: Brand, caller: Caller) -> AdapterVersion | None:
        canary = self._registry.canary(brand.name)
        return self._registry.get(canary.name) if canary and canary.takes(caller) else None

    def _base_voice(self) -> Voice:
        # Untuned, a small base falls into repeating a sentence with its marker; a mild penalty ends that.
        sampling = SamplingDefaults(repetition_penalty=1.1)
        knowledge_bases = tuple(self._knowledge_bases())
        brand = Brand(name=self._base.name, adapter="none", knowledge_bases=knowledge_bases, sampling=sampling)
        return Voice(self._base.name, brand, True, None, 0)

    def _adapter(self, brand: Brand, pinned: str) -> AdapterVersion | None:
        try:
            if pinned:
                return None if pinned == f"{brand.name}{UNTUNED}" else self._registry.get(pinned)
            if brand.adapter == "active":
                return self._registry.active(brand.name)
            return None if brand.adapter == "none" else self._registry.get(brand.adapter)
        except NotFoundError as error:
            raise model_not_found(pinned or brand.adapter) from error

    def _check(self, voice: Voice) -> Voice:
        adapter = voice.adapter
        if adapter and adapter.retirement:
            raise NotFoundError(
                f"The model {adapter.name} was retired on {adapter.retirement.day}: {adapter.retirement.reason}",
                "model_retired",
                "GET /v1/models lists what can be used.",
            )
        if adapter and (reason := self._registry.mismatch(adapter)):
            raise ConfigError(
                reason,
                f"{self._registry.how_to_retrain(adapter)}; or set models.base back; {voice.brand.name}'s file may say"
                " adapter = 'none' meanwhile.",
            )
        return voice


def model_not_found(model: str) -> NotFoundError:
    return NotFoundError(f"The model {model!r} does not exist.", "model_not_found", "GET /v1/models lists what does.")
