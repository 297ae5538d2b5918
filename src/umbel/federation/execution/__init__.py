"""Runs tasks at a site: on the site's own engines, under the site's own rules."""

from umbel.federation.execution.run import SiteExecution

__all__ = ["SiteExecution"]
