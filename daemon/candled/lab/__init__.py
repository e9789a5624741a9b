"""The offline half: tables, labels, training. Imports the core, never the service or adapters."""
