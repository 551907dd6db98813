"""What OpenLoRA is told: the base model, the engine, what answers cost, and how much is taken in at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from openledger import names
from openledger.money import MAX_AMOUNT, Price
from services.kit.config import ServiceConfig
from services.openlora.admission import Bounds
from services.openlora.engine import Dtype, EngineSettings
from services.openlora.importing import Limits as ImportLimits
from services.openlora.prices import Prices, check_name
from services.openlora.question import REPLICA

Address = Annotated[str, AfterValidator(names.address)]


class Rates(BaseModel):
    """What one model's answers cost, where that is not what the others' do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_1k_in: int = Field(ge=0, le=MAX_AMOUNT)
    per_1k_out: int = Field(ge=0, le=MAX_AMOUNT)
    platform_fee: int | None = Field(None, ge=0, le=MAX_AMOUNT)


class OpenLoRAConfig(ServiceConfig):
    """Amounts are atomic units (10**-18 OPEN)."""

    service: ClassVar[str] = "openlora"

    ledger: str = Field(min_length=1, description="host:port of the ledger: sessions, and the money of every answer")
    datanet: str = Field("", description="host:port of the datanet, of which records can come with questions, if any")
    base: str = Field("smollm2-135m-instruct", min_length=1, description="base model by name, or a folder that is one")
    engine: Literal["vllm", "transformers"] = Field("vllm", description="transformers: where vLLM cannot run")

    price_per_1k_in: int = Field(2 * 10**17, ge=0, le=MAX_AMOUNT, description="per 1000 prompt tokens")
    price_per_1k_out: int = Field(10**18, ge=0, le=MAX_AMOUNT, description="per 1000 answer tokens")
    platform_fee: int = Field(10**15, ge=0, le=MAX_AMOUNT, description="per answer")

    prices: dict[str, Rates] = Field(
        {}, description="of models that cost something else, as JSON: {model: {per_1k_in, per_1k_out, platform_fee}}"
    )

    lease_chunk: int = Field(2 * 10**18, ge=1, le=MAX_AMOUNT, description="of a payer's balance set aside at a time")
    lease_idle_seconds: float = Field(300, gt=0, description="an unused lease goes back to its payer after this long")
    tend_seconds: float = Field(1, gt=0, description="how often leases and the engine's health are looked after")

    max_running: int = Field(16, ge=1, description="answers generated at once; the engine batches them")
    max_active_adapters: int = Field(8, ge=1, description="different adapters in one batch")
    max_adapters: int = Field(32, ge=1, description="adapters kept in memory")
    max_rank: int = Field(16, ge=1, description="highest LoRA rank served")
    cache_bytes: int = Field(512 * 2**20, ge=2**20, description="keys and values of all running answers, on a CPU")
    dtype: Dtype = Field(
        "auto", description="what the model is computed in; auto: float32 on a CPU, bfloat16 on a GPU (docs/serving.md)"
    )
    reading_tokens: int = Field(
        64, ge=1, description="of one payer's prompts read at once while others are here; on a GPU some thousands"
    )
    max_queued: int = Field(128, ge=0, description="requests that may wait for their turn")
    max_tokens: int = Field(1024, ge=1, le=8192, description="longest answer, in tokens")
    max_prompt_tokens: int = Field(1536, ge=1)
    max_rpc_seconds: float = Field(310, gt=0, description="longest call that is not a stream; longer than an answer")
    max_answer_seconds: float = Field(300, gt=0, description="longest wait for and making of an answer")

    adapters_bytes: int = Field(16 * 2**30, ge=1, description="room for adapters unpacked in data_dir/adapters")
    load_concurrency: int = Field(2, ge=1, le=64, description="adapters brought into memory at a time")
    signers: tuple[Address, ...] = Field(
        (), description="whose word on what adapters were trained on counts, such as the Factory's; empty: anybody's"
    )
    importers: tuple[Address, ...] = Field((), description="may bring adapters from elsewhere; empty: every account")
    import_bytes: int = Field(256 * 2**20, ge=1, le=2**31, description="largest adapter that is brought")
    account_import_bytes: int = Field(2**30, ge=1, description="of all that one account brings")
    all_import_bytes: int = Field(16 * 2**30, ge=1, description="of all that anybody brings")
    spare_turns: int | None = Field(
        None, ge=0, description="on top of max_running, for payers with less than an equal part; None: half as many"
    )
    max_running_per_tenant: int = Field(0, ge=0, description="answers to one payer generated at once; 0: all of them")
    max_queued_per_tenant: int = Field(64, ge=1, description="requests of one payer that may wait for their turn")
    max_queued_per_adapter: int = Field(64, ge=1, description="requests for one adapter that may wait for their turn")
    slot_seconds: float = Field(2, ge=0, description="an adapter stays in the batch so long before another takes over")

    @field_validator("prices")
    @classmethod
    def _of_models(cls, value: dict[str, Rates]) -> dict[str, Rates]:
        return {check_name(model): rates for model, rates in value.items()}

    replica: str = Field(
        "", pattern=REPLICA, description="name of this one of several, in its answers' names; its database is its own"
    )
    operators: tuple[Address, ...] = Field((), description="may pin adapters, and have any answer generated again")
    trace_key_file: Path | None = Field(None, description="opens the sealed traces; traces.key in data_dir by default")
    forgotten_file: Path | None = Field(
        None,
        description="list of keys that payers took back, kept apart from backups; forgotten in data_dir by default",
    )
    trace_days: float = Field(90, gt=0, description="how long a trace stays after its answer, once Attribution has it")
    max_trace_lag: int = Field(100_000, ge=1, description="traces that may wait for Attribution; then none is begun")

    @property
    def trace_key(self) -> Path:
        """Where the key is that opens the sealed traces."""
        return self.trace_key_file or self.data_dir / "traces.key"

    @property
    def forgotten(self) -> Path:
        """Where the names of payers' keys are that they took back, which stays while the database is put back."""
        return self.forgotten_file or self.data_dir / "forgotten"

    @property
    def price_list(self) -> Prices:
        """What answers cost, by model."""
        own = self.platform_fee
        named = {
            model: Price(rates.per_1k_in, rates.per_1k_out, own if rates.platform_fee is None else rates.platform_fee)
            for model, rates in self.prices.items()
        }
        return Prices(Price(self.price_per_1k_in, self.price_per_1k_out, own), named)

    @property
    def spare(self) -> int:
        """Turns on top of `max_running`: half as many, rounded up, unless it is said otherwise."""
        return (self.max_running + 1) // 2 if self.spare_turns is None else self.spare_turns

    @property
    def import_limits(self) -> ImportLimits:
        """How much is taken in of what people bring."""
        return ImportLimits(
            one=self.import_bytes,
            account=self.account_import_bytes,
            everybody=self.all_import_bytes,
            under_way=4 * self.import_bytes,
            importers=frozenset(self.importers),
        )

    @property
    def engine_settings(self) -> EngineSettings:
        """What the engine is to make room for."""
        return EngineSettings(
            context=self.max_prompt_tokens + self.max_tokens,
            max_running=self.max_running + self.spare,
            max_active_adapters=self.max_active_adapters,
            max_adapters=self.max_adapters,
            max_rank=self.max_rank,
            cache_bytes=self.cache_bytes,
            dtype=self.dtype,
        )

    @property
    def bounds(self) -> Bounds:
        """How much is taken in at once."""
        return Bounds(
            running=self.max_running,
            queued=self.max_queued,
            slots=self.max_active_adapters,
            spare=self.spare,
            slot_seconds=self.slot_seconds,
            queued_per_tenant=self.max_queued_per_tenant,
            queued_per_adapter=self.max_queued_per_adapter,
            running_per_tenant=self.max_running_per_tenant or self.max_running + self.spare,
            reading=self.reading_tokens,
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        dearest = self.price_list.most(self.max_prompt_tokens, self.max_tokens)
        if dearest > MAX_AMOUNT:
            raise ValueError(f"the dearest answer would cost {dearest}, more than there can be")
        if self.max_rpc_seconds <= self.max_answer_seconds:
            raise ValueError("max_rpc_seconds must be more than max_answer_seconds: a whole answer is one call")
        if self.engine == "transformers" and self.dtype not in ("auto", "float32"):
            raise ValueError(f"dtype is {self.dtype}, and the transformers engine computes in float32: take vllm")
        if self.max_active_adapters > self.max_adapters:
            raise ValueError("max_active_adapters is more than max_adapters")
        return self
