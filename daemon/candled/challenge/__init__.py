"""Champion and challenger: a second model decides the same bars, and nothing acts upon it.

shadowing   deciding the champion's bars with the challengers, in order, each once
challenger  the sink that does so beside the service, after the champion
courtesy    how all of this gives way
comparing   what both were worth on the same bars, and what can be said of it
promoting   making the challenger the champion in config.toml
"""
