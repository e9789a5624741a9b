"""The signal contract as code: what is said, where. Shared by who speaks and who listens.

Imports nothing but msgspec, so that a subscriber carries no daemon with it.
"""
