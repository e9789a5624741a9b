"""Where decisions go: MQTT and the log. Sinks render; they decide nothing."""
