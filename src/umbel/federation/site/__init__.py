"""The site's process: joins a federation, does its work beside the data, and finds its faults."""

from umbel.federation.site.doctor import Finding, examine
from umbel.federation.site.joining import join
from umbel.federation.site.process import SiteProcess
from umbel.federation.site.settings import FILE, SiteSettings

__all__ = ["FILE", "Finding", "SiteProcess", "SiteSettings", "examine", "join"]
