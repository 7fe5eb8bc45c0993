"""`squash`: write one revision that does at once what several do one after the other."""
