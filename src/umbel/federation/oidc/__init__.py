"""OpenID Connect: whom a provider says that somebody is, for coordinators, and how one logs in.

Nothing here knows of plans or sites. `provider` asks a provider what it offers, `keys` keeps its
public keys, `tokens` judges tokens (the coordinator's side); `grants` gets and renews tokens, and
`logins` keeps them (the client's side).
"""
