"""Everything that touches the world: exchanges, sinks, the simulator, brokers and files."""
