"""The configuration: config.toml as validated settings.

values    what one value may be
tables    the tables and their keys, with defaults
loading   reading the file, and what its problems are called
"""

from candled.config.loading import ConfigError, digest, load_config, rooted
from candled.config.tables import (
    AlertsConfig,
    Config,
    ExchangeConfig,
    HomeAssistantConfig,
    HummingbotConfig,
    LogConfig,
    ModelsConfig,
    MqttConfig,
    PolicyConfig,
    StateConfig,
    StreamConfig,
    TrackConfig,
    WebConfig,
    WebhookConfig,
)
from candled.config.values import CREDENTIAL, SecretPlace, split_address

__all__ = [
    "CREDENTIAL",
    "AlertsConfig",
    "Config",
    "ConfigError",
    "ExchangeConfig",
    "HomeAssistantConfig",
    "HummingbotConfig",
    "LogConfig",
    "ModelsConfig",
    "MqttConfig",
    "PolicyConfig",
    "SecretPlace",
    "StateConfig",
    "StreamConfig",
    "TrackConfig",
    "WebConfig",
    "WebhookConfig",
    "digest",
    "load_config",
    "rooted",
    "split_address",
]
