"""The server's settings, from flags and the environment (VECTORDB_DATA, VECTORDB_API_KEY, ...)."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything that can be set; a value that is not understood is refused, and never shown."""

    model_config = SettingsConfigDict(env_prefix="VECTORDB_", hide_input_in_errors=True, extra="forbid")

    data: Path
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8003
    api_key: SecretStr | None = None
    max_body_bytes: Annotated[int, Field(ge=1_024, le=2**31)] = 128 * 1024 * 1024
