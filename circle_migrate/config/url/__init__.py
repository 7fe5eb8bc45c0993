"""Database URLs in every spelling people use, read into one `Address`."""
