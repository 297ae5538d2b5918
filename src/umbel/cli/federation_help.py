"""The texts of `--help` of the commands of a federation."""

from __future__ import annotations

COORDINATOR = """Make and run the coordinator of a federation.

\b
Examples:
  umbel coordinator init /var/lib/umbel --federation north --host umbel.example.org
  umbel coordinator serve --config /var/lib/umbel
  umbel coordinator invite hospital-a --config /var/lib/umbel
"""

INIT = """Make a coordinator: a certificate authority, a configuration, and an operator's token.

The folder then holds coordinator.toml, which is commented, and the authority. Its root key is
needed again only when the issuing certificate is renewed: take it off the machine.

\b
Examples:
  umbel coordinator init coordinator
  umbel coordinator init /var/lib/umbel --federation north --host umbel.example.org \\
      --listen 0.0.0.0:8443 --sites 0.0.0.0:8444
"""

COORDINATOR_SERVE = """Start a coordinator, until Ctrl-C or SIGTERM.

People and tools reach it by HTTPS, sites by Arrow Flight with certificates on both sides.

\b
Examples:
  umbel coordinator serve
  umbel coordinator serve --config /var/lib/umbel
"""

INVITE = """Make the word with which a site joins: once, and soon not any more.

Hand it over by a road that others cannot read.

\b
Examples:
  umbel coordinator invite hospital-a
  umbel coordinator invite hospital-a --minutes 60 --config /var/lib/umbel
"""

REVOKE = """Shut a site or a token out, at once.

\b
Examples:
  umbel coordinator revoke hospital-a
  umbel coordinator revoke --token 0f3a5c7b9d1e2f40
"""

RENEW_ISSUER = """Renew the certificate of the key that issues; it holds for two years.

Bring the authority's root.key back for it, and take it away again after. Certificates that were
issued before stay good. Restart the coordinator: it takes up the new one then.

\b
Examples:
  umbel coordinator renew-issuer --config /var/lib/umbel
"""

FOR_USERS = """Make a user's token; it is shown this once.

\b
Roles:
  viewer     sees sites and tables
  analyst    asks, too
  publisher  sees sites and tables, and invites sites
  operator   invites and revokes, makes tokens, cancels runs
  auditor    sees who ran what, and who holds tokens

\b
Examples:
  umbel coordinator token ann
  umbel coordinator token bob --role viewer --role auditor --days 30
"""

SITE = """Join a federation, and run the site's process beside the data.

\b
Examples:
  umbel site join --folder hospital-a --token umbel-join-…
  umbel site doctor hospital-a
  umbel site run hospital-a
"""

JOIN = """Join a federation: make a key here, which never leaves, and get a certificate for it.

The folder then holds the key, the certificate, and site.toml, which is commented: say there what
the site publishes. Nothing leaves unless it says so.

\b
Examples:
  umbel site join --folder hospital-a --token umbel-join-…
  umbel site join https://umbel.example.org:8443 --token file:/run/secrets/invitation
"""

SITE_RUN = """Start a site, until Ctrl-C or SIGTERM.

It dials its coordinator and listens on nothing. Each task is checked under the site's own rules.

\b
Examples:
  umbel site run
  umbel site run hospital-a/site.toml
"""

DOCTOR = """Find what would keep a site from its work: configuration, certificate, clock, line, disk.

\b
Examples:
  umbel site doctor hospital-a
"""

SITES = """List the sites of a federation: their state, their version, their line, their tables.

The coordinator is URL or the variable UMBEL_COORDINATOR, the token --token or UMBEL_TOKEN.

\b
Examples:
  umbel sites https://umbel.example.org:8443
  umbel sites https://umbel.example.org:8443 --token file:/run/secrets/umbel --json
"""

LOGIN = """Log in to a federation whose coordinator takes logins of an OpenID provider.

Shows a page to open and a code to type there, or uses a browser of this machine. The login is kept
under your configuration folder, for you alone, and renewed: ub.connect(URL) and umbel sites URL use
it if there is no token.

The coordinator's certificate must be vouched for once: by --authority or --ca, or by you.

\b
Examples:
  umbel login https://umbel.example.org:8443
  umbel login https://umbel.example.org:8443 --authority 3f1c…
  umbel login https://umbel.example.org:8443 --browser --ca root.pem
"""

LOGOUT = """Forget a login, here and at the provider.

\b
Examples:
  umbel logout https://umbel.example.org:8443
"""
