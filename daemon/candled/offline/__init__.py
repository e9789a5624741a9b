"""The offline commands, composed: candle files and bundles in and out of the lab.

Reads files through the adapters, asks the lab, writes files, and returns the lines that a command
prints. The live process never comes here.
"""
