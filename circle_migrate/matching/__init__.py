"""Keys of one database that have to be in another one: the relations declared, and their keys as streams."""
