"""Expected catalogs of revisions and models: shipped, from a cache, or built on a scratch database."""
