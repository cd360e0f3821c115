"""Sign-in with an OpenID Connect provider: in the browser, on the command line, and by its access tokens."""
