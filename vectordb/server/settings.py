"""The server's settings, from flags and the environment (VECTORDB_DATA, VECTORDB_API_KEY, ...)."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from vectordb.server.log_lines import LogFormat


class Settings(BaseSettings):
    """Everything that can be set; a value that is not understood is refused, and never shown."""

    model_config = SettingsConfigDict(env_prefix="VECTORDB_", hide_input_in_errors=True, extra="forbid")

    data: Path
    snapshots_dir: Path | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8003
    api_key: SecretStr | None = None
    previous_api_key: SecretStr | None = None
    metrics_token: SecretStr | None = None
    max_body_bytes: Annotated[int, Field(ge=1_024, le=2**31)] = 128 * 1024 * 1024
    log_format: LogFormat = "line"
    log_texts: bool = False
    max_queued_bytes: Annotated[int, Field(ge=1_024, le=2**40)] = 256 * 1024 * 1024

    @field_validator("data", "snapshots_dir", mode="before")
    @classmethod
    def refuse_no_folder(cls, value: object) -> object:
        """Refuse an empty path: it would mean the folder that the process happens to stand in."""
        if isinstance(value, str) and (not value.strip() or "\0" in value):
            raise PydanticCustomError("data_empty", "must name a folder, and not be empty")
        return value

    @field_validator("api_key", "previous_api_key", "metrics_token")
    @classmethod
    def require_a_key_for_headers(cls, value: SecretStr | None) -> SecretStr | None:
        """Take an empty key for none; refuse one that no header can carry, which nobody could ever send."""
        key = "" if value is None else value.get_secret_value()
        if not key:
            return None
        if not key.isascii() or not key.isprintable() or key != key.strip():
            raise PydanticCustomError("api_key", "must be printable ASCII without spaces around it")
        return value

    @model_validator(mode="after")
    def require_a_key_beside_the_previous_one(self) -> Self:
        """Refuse a former key without a present one: nobody would be let in with any other."""
        if self.previous_api_key is not None and self.api_key is None:
            raise PydanticCustomError("previous_api_key", "VECTORDB_PREVIOUS_API_KEY needs VECTORDB_API_KEY beside it")
        return self

    @property
    def api_keys(self) -> list[str]:
        """The keys that are accepted: while callers change to a new one, two."""
        return [key.get_secret_value() for key in (self.api_key, self.previous_api_key) if key is not None]
