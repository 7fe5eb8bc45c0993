"""Sign-in for the platform's application: registration, sessions, codes and passwords, over HTTP."""
