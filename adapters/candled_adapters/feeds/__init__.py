"""From a venue to closed bars: sockets, REST, continuity, the venue's clock; one `VenueFeed`."""
