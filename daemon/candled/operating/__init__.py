"""What the operator's commands do: status, log, replay. They look, and change nothing.

status     how the daemon is: its own word over HTTP, or what its state folder tells
log        decisions out of the journal, now and as they come
replay     decides stored bars again, and publishes them to bots that rehearse
words      a decision in words; tables: rows for a terminal and for a pipe

Nothing here is imported by the live process.
"""
